//! Functions that are called by their number, with a FunctionCall.

/// The least number that a function of the user's has (`FirstNormalObjectId` of `transam.h`).
const FIRST_OF_USERS: u32 = 16_384;

/// The functions of large objects (`pg_proc.dat`), for which libpq and drivers have the message: what they do is of the transaction.
const LARGE_OBJECTS: [u32; 20] = [
    715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1_004, 3_170, 3_171, 3_172, 3_457,
    3_458, 3_459, 3_460,
];

/// Whether a function may leave something in the session that reads elsewhere would have to know of, as `set_config` does. A function
/// of the user's counts as it does in a text.
pub(crate) fn may_leave_something(function: u32) -> bool {
    function < FIRST_OF_USERS && !LARGE_OBJECTS.contains(&function)
}
