//! The limits that the catalog enforces. They are part of the replicated state, so that every node decides alike
//! even while the configuration of the nodes differs.

/// Limits of the catalog. `None` means unlimited. At a limit the change is refused, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CatalogLimits {
    /// Registries of the whole server (`iot.registries.count`); unlimited by default (U-D7).
    pub registries_max: Option<u64>,
    /// Devices of the whole server (`iot.devices.count`); unlimited by default (U-D7).
    pub devices_max: Option<u64>,
    /// Brokers of the whole server (`iot.brokers.count`); unlimited by default (U-D7).
    pub brokers_max: Option<u64>,
    /// Sessions of one broker on all nodes (`iot.brokerConnections.count`); unlimited by default (U-D7). Further CONNECTs are
    /// refused.
    pub clients_per_broker_max: Option<u64>,
    /// Certificates of one registry, device or broker; 5 by default (U-D8).
    pub certificates_per_entity_max: u64,
    /// Passwords of one registry, device or broker; 5 by default (U-D8).
    pub passwords_per_entity_max: u64,
    /// Stored permanent topics of one device, or of the registry's own topics; 1,000 by default.
    pub permanent_topics_per_entity_max: u64,
    /// Bytes of all stored permanent messages, topics and bookkeeping included; 1 GiB by default.
    pub permanent_bytes_max: u64,
    /// API tokens; 1,000 by default.
    pub tokens_max: u64,
    /// Operations kept for one resource; 1,000 by default. At the limit the oldest is forgotten.
    pub operations_per_resource_max: u64,
    /// Operations kept altogether; 1,000,000 by default. At the limit the oldest is forgotten.
    pub operations_max: u64,
    /// How long an operation is kept, in seconds; 30 days by default (U-D6).
    pub operation_retention_s: u64,
    /// Idempotency keys remembered; 100,000 by default. At the limit the oldest is forgotten.
    pub idempotency_keys_max: u64,
    /// How long an idempotency key is honoured, in seconds; 24 hours by default (U-P9).
    pub idempotency_retention_s: u64,
}

impl Default for CatalogLimits {
    fn default() -> Self {
        Self {
            registries_max: None,
            devices_max: None,
            brokers_max: None,
            clients_per_broker_max: None,
            certificates_per_entity_max: 5,
            passwords_per_entity_max: 5,
            permanent_topics_per_entity_max: 1_000,
            permanent_bytes_max: 1 << 30,
            tokens_max: 1_000,
            operations_per_resource_max: 1_000,
            operations_max: 1_000_000,
            operation_retention_s: 30 * 24 * 60 * 60,
            idempotency_keys_max: 100_000,
            idempotency_retention_s: 24 * 60 * 60,
        }
    }
}
