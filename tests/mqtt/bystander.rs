//! An innocent pair of clients that must not notice an attack.

use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role},
};

/// D2 of a fixture publishing to R, connected before the attack starts.
pub struct Bystander {
    device: Client,
    backend: Client,
    topic: String,
    sent: u32,
}

impl Bystander {
    /// Connects both and sends one message.
    pub async fn connect(fixture: &Fixture<'_>) -> Self {
        let topic = fixture.expand("$devices/{D2}/events/bystander");
        let backend = fixture.subscriber(Role::R, &topic).await;
        let device = fixture.connect(Role::D2).await;
        let mut bystander = Self { device, backend, topic, sent: 0 };
        bystander.exchange().await;
        bystander
    }

    /// The old connections still work and nothing was lost, repeated or injected; new ones can be made.
    pub async fn is_unaffected(&mut self, fixture: &Fixture<'_>) {
        self.exchange().await;
        fixture.connect(Role::D2).await.disconnect().await;
        assert!(fixture.node.is_running());
    }

    async fn exchange(&mut self) {
        self.sent += 1;
        let payload = self.sent.to_string();
        self.device.publish(&self.topic, payload.as_bytes()).await;
        assert_eq!(self.backend.receive_exactly(1).await[0].text(), payload);
    }
}
