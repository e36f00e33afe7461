//! Which bytes of which source go to which destination, in what order; knows no protocol.
