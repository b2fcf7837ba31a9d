//! Chunks of another node: from the bytes to what the lanes of this node get.
//!
//! Messages go to sessions of this node only, whatever the index says of others: their nodes are sent the message by the
//! one that accepted it.

use std::collections::HashMap;

use super::wire::{ChunkError, ChunkReader, Frame};
use crate::actors::directory::Directory;
use crate::actors::lane::inbox::Batch;
use crate::actors::routes::{self, Route};
use crate::actors::space::Space;
use crate::domain::address::CanonicalTopic;
use crate::domain::principal::SpaceId;
use crate::mqtt::topic::validate_topic_name;
use crate::store::catalog::CatalogHandle;

/// Routes that are kept for a link; at the limit all are forgotten, and computed again as they are needed.
const CACHED_ROUTES_MAX: usize = 16_384;

/// What is kept of a link from chunk to chunk: routes, which are looked up again when they are no longer current.
#[derive(Default)]
pub struct Incoming {
    routes: Vec<Route>,
    /// By space and topic: the place in `routes`.
    places: HashMap<SpaceId, HashMap<Box<str>, usize>>,
    scratch: Vec<u8>,
}

/// What was in a chunk.
pub struct Unpacked {
    /// What each lane gets, by its number.
    pub batches: Vec<Batch>,
    /// Messages in the chunk.
    pub messages: u64,
}

impl Incoming {
    /// Finds out who gets the messages of a chunk. A topic or space that is not in use on this node has no subscribers.
    ///
    /// # Errors
    /// [`ChunkError`]; nobody gets anything of the chunk then.
    pub fn unpack(
        &mut self,
        chunk: &[u8],
        lanes: usize,
        directory: &Directory,
        catalog: &CatalogHandle,
    ) -> Result<Unpacked, ChunkError> {
        if self.routes.len() >= CACHED_ROUTES_MAX {
            self.routes.clear();
            self.places.clear();
        }
        let mut unpacked = Unpacked { batches: (0..lanes).map(|_| Batch::default()).collect(), messages: 0 };
        // Of the chunk's topics: the places of their routes.
        let mut topics: Vec<Option<usize>> = Vec::new();
        let mut space = None;
        for frame in ChunkReader::new(chunk)? {
            match frame? {
                Frame::Space(id) => space = directory.find(&id),
                Frame::Topic(topic) => {
                    topics.push(space.as_deref().and_then(|space| self.place(space, topic, catalog)));
                }
                Frame::Message { topic, qos, payload } => {
                    unpacked.messages += 1;
                    if let Some(place) = topics.get(usize::from(topic)).copied().flatten() {
                        let route = &self.routes[place];
                        routes::collect(route, payload, qos, &mut unpacked.batches, &mut self.scratch);
                    }
                }
            }
        }
        Ok(unpacked)
    }

    /// Where the current route of a topic is.
    fn place(&mut self, space: &Space, topic: &str, catalog: &CatalogHandle) -> Option<usize> {
        let known = self.places.get(&space.id).and_then(|places| places.get(topic)).copied();
        if let Some(place) = known.filter(|place| self.routes[*place].is_current(topic, space)) {
            return Some(place);
        }
        let canonical = canonical(&space.id, topic)?;
        let route = catalog.read(|catalog| routes::matching(space, canonical, topic, catalog));
        if let Some(place) = known {
            self.routes[place] = route;
            return Some(place);
        }
        let place = self.routes.len();
        self.routes.push(route);
        self.places.entry(space.id.clone()).or_default().insert(topic.into(), place);
        Some(place)
    }
}

/// The topic, if it is one of the space. That of an honest node always is.
fn canonical(space: &SpaceId, topic: &str) -> Option<CanonicalTopic> {
    validate_topic_name(topic).ok()?;
    match space {
        SpaceId::Registry(id) => CanonicalTopic::parse(topic, id).ok(),
        SpaceId::Broker(_) => (!topic.starts_with('$')).then(|| CanonicalTopic::free(topic)),
    }
}
