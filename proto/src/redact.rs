//! `Debug` for the messages that carry a password or a token's secret: the name only, so that a
//! request that ends up in a log or an error betrays nothing. The list is the one in `build.rs`.

use std::fmt;

use crate::rookery::admin::v1 as admin;
use crate::rookery::cluster::v1 as cluster;
use crate::rookery::storage::v1 as storage;
use crate::yandex::cloud::iot::broker::v1 as broker;
use crate::yandex::cloud::iot::devices::v1 as devices;

macro_rules! redact {
    ($($message:path),* $(,)?) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )*};
}

redact!(
    devices::CreateDeviceRequest,
    devices::AddDevicePasswordRequest,
    devices::CreateRegistryRequest,
    devices::AddRegistryPasswordRequest,
    broker::CreateBrokerRequest,
    broker::AddBrokerPasswordRequest,
    admin::CreateTokenResponse,
    cluster::JoinResponse,
    storage::ApiToken,
    storage::NewPassword,
    storage::Password,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_passwords() {
        let request = devices::AddDevicePasswordRequest {
            device_id: "are0".to_owned(),
            password: "Passw0rdForDevice".to_owned(),
        };
        assert!(!format!("{request:?}").contains("Passw0rd"));
    }
}
