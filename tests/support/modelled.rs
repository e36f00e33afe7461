//! The model as one who answers scripts.

use crate::model_script::{Side, Trace, frames};
use crate::sim::server::{Cluster, Node, Server, ServerOptions};

pub(crate) struct Modelled {
    pub(crate) cluster: Cluster,
    pub(crate) server: Server,
    gathered: Vec<u8>,
    trace: Trace,
}

impl Modelled {
    pub(crate) fn new(node: Node, version: u32) -> Modelled {
        let options = ServerOptions {
            version,
            ..ServerOptions::default()
        };
        Modelled {
            cluster: Cluster::new(),
            server: Server::new(node, 7, options),
            gathered: Vec::new(),
            trace: Trace::default(),
        }
    }
}

impl Side for Modelled {
    fn send(&mut self, bytes: &[u8]) {
        self.server.receive(bytes);
    }

    fn hear(&mut self, _: usize) -> String {
        while self.server.step(&mut self.cluster) {}
        self.gathered.extend(self.server.output());
        frames(&mut self.gathered, &mut self.trace);
        if self.server.is_closed() {
            self.trace.words.push("closed".to_owned());
        }
        self.trace.line()
    }
}
