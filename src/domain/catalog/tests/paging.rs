//! Pages of listings while resources come and go (U-P3).

use super::{Fixture, device};
use crate::domain::catalog::{Change, PageRequest};
use crate::domain::id::{DeviceId, FolderId, RegistryId};

#[test]
fn pages_survive_inserts_and_deletions() {
    let mut fixture = Fixture::new();
    let create = |fixture: &mut Fixture, id: &str| {
        fixture.done(Change::CreateDevice(device(id, "r")));
    };
    for id in ["dx", "da", "dm"] {
        create(&mut fixture, id);
    }
    let registry = RegistryId::new("r");
    let mut seen = Vec::new();
    let mut request = PageRequest::first(2);
    loop {
        let page = fixture.catalog.devices_of_registry(&registry, &request);
        seen.extend(page.items.iter().map(|device| device.id.as_str().to_owned()));
        let token = page.next_token_text();
        if token.is_empty() {
            break;
        }
        if seen.len() == 2 {
            // The device that the token names goes away, and new ones come in.
            fixture.done(Change::DeleteDevice { id: DeviceId::new("d2") });
            create(&mut fixture, "d0");
        }
        request = PageRequest::parse(2, 1000, &token).expect("our own token");
    }
    assert_eq!(seen, ["d1", "d2", "dx", "da", "dm", "d0"]);
}

#[test]
fn the_last_page_has_no_token_even_when_it_is_full() {
    let fixture = Fixture::new();
    let page = fixture.catalog.devices_of_registry(&RegistryId::new("r"), &PageRequest::first(2));
    assert_eq!((page.items.len(), page.next), (2, None));
    let page = fixture.catalog.devices_of_folder(&FolderId::new("f"), &PageRequest::first(2));
    assert_eq!((page.items.len(), page.next.is_some()), (2, true));
    let page = fixture.catalog.registries_of_folder(&FolderId::new("other"), &PageRequest::first(2));
    assert_eq!((page.items.len(), page.next), (0, None));
    let page = fixture.catalog.brokers_of_folder(&FolderId::new("f"), &PageRequest::first(1));
    assert_eq!((page.items.len(), page.next), (1, None));
}
