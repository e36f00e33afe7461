//! What a session holds of the heap, byte for byte.

/// The heap that was taken and given back inside the measured calls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    held: i64,
    /// The most that was held at any moment inside a call.
    pub(crate) peak: i64,
}

impl Meter {
    pub(crate) fn measure<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let mut result = None;
        let info = allocation_counter::measure(|| result = Some(call()));
        let most = i64::try_from(info.bytes_max).unwrap_or(i64::MAX);
        self.peak = self.peak.max(self.held + most);
        self.held += info.bytes_current;
        result.expect("the call was made")
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> i64 {
        self.held
    }
}
