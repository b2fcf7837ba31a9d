//! An innocent pair of clients that must not notice an attack.

use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role},
    ops,
};

/// D2 of a fixture publishing to R, connected before the attack starts.
pub struct Bystander {
    device: Client,
    backend: Client,
    topic: String,
    sent: u32,
    refusals: Vec<f64>,
}

/// Counters of refusals; each attack moves one of them.
const REFUSALS: [&str; 5] = [
    "rookery_protocol_violations_total",
    "rookery_publishes_refused_total",
    "rookery_filters_refused_total",
    "rookery_wills_refused_total",
    "rookery_connects_refused_total",
];

impl Bystander {
    /// Connects both and sends one message.
    pub async fn connect(fixture: &Fixture<'_>) -> Self {
        let topic = fixture.expand("$devices/{D2}/events/bystander");
        let backend = fixture.subscriber(Role::R, &topic).await;
        let device = fixture.connect(Role::D2).await;
        let refusals = REFUSALS.map(|name| count(fixture, name)).into();
        let mut bystander = Self { device, backend, topic, sent: 0, refusals };
        bystander.exchange().await;
        bystander
    }

    /// The old connections still work and nothing was lost, repeated or injected; new ones can be made.
    pub async fn is_unaffected(&mut self, fixture: &Fixture<'_>) {
        self.exchange().await;
        fixture.connect(Role::D2).await.disconnect().await;
        assert!(fixture.node.is_running());
    }

    /// The counter has grown by `least` since the bystander connected. (Other tests may add to it.)
    pub fn saw_refusals(&self, fixture: &Fixture<'_>, name: &str, least: u32) {
        let index = REFUSALS.iter().position(|known| *known == name).expect("the counter is listed");
        let grown = count(fixture, name) - self.refusals[index];
        assert!(grown >= f64::from(least), "{name} grew by {grown}, not by {least}");
    }

    async fn exchange(&mut self) {
        self.sent += 1;
        let payload = self.sent.to_string();
        self.device.publish(&self.topic, payload.as_bytes()).await;
        assert_eq!(self.backend.receive_exactly(1).await[0].text(), payload);
    }
}

fn count(fixture: &Fixture<'_>, name: &str) -> f64 {
    ops::metric(fixture.node, name).unwrap_or_else(|| panic!("there is no metric {name}"))
}
