//! The tagless packets that open a connection.
