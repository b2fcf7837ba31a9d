//! What is known about the life of a device, and the monitoring message that tells it (`spec/topics.md` section 8).

use std::net::IpAddr;

use serde::Serialize;

use super::id::{DeviceId, RegistryId};
use super::timestamp::Timestamp;

/// The monitoring data of a device. Unset fields never happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonitoringRecord {
    /// Last authentication.
    pub last_auth_time: Option<Timestamp>,
    /// Its address, without port.
    pub last_auth_ip: Option<IpAddr>,
    /// Last publish.
    pub last_pub_activity_time: Option<Timestamp>,
    /// Last subscribe.
    pub last_sub_activity_time: Option<Timestamp>,
    /// Last activity of any kind by the device.
    pub last_online_time: Option<Timestamp>,
    /// Last end of a connection (U-T23).
    pub last_disconnect_time: Option<Timestamp>,
}

/// One MQTT access of a device. Each is worth a monitoring message (U-T23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// CONNECT was accepted from this address.
    Connect(IpAddr),
    /// PUBLISH.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// PINGREQ.
    Ping,
    /// The connection ended, whoever ended it: no sign of life by itself.
    Disconnect,
}

impl MonitoringRecord {
    /// Notes an access at the time `now`.
    pub fn note(&mut self, access: Access, now: Timestamp) {
        let mut news = Self::default();
        match access {
            Access::Connect(address) => {
                news.last_auth_time = Some(now);
                news.last_auth_ip = Some(address.to_canonical());
            }
            Access::Publish => news.last_pub_activity_time = Some(now),
            Access::Subscribe => news.last_sub_activity_time = Some(now),
            Access::Ping => {}
            Access::Disconnect => news.last_disconnect_time = Some(now),
        }
        if access != Access::Disconnect {
            news.last_online_time = Some(now);
        }
        self.merge(&news);
    }

    /// Takes over what is later in `other`, field by field; the address goes with the authentication. Reports of
    /// several connections and nodes may come in any order: the result is the same.
    pub fn merge(&mut self, other: &Self) {
        let auth = (other.last_auth_time, other.last_auth_ip);
        if auth > (self.last_auth_time, self.last_auth_ip) {
            (self.last_auth_time, self.last_auth_ip) = auth;
        }
        let later = |own: &mut Option<Timestamp>, other: Option<Timestamp>| *own = (*own).max(other);
        later(&mut self.last_pub_activity_time, other.last_pub_activity_time);
        later(&mut self.last_sub_activity_time, other.last_sub_activity_time);
        later(&mut self.last_online_time, other.last_online_time);
        later(&mut self.last_disconnect_time, other.last_disconnect_time);
    }

    /// The payload of a monitoring message: one JSON object, UTC times in RFC 3339 with up to nine fractional digits,
    /// unset fields left out.
    pub fn to_json(&self, registry: &RegistryId, device: &DeviceId) -> String {
        let time = |time: Option<Timestamp>| time.map(Timestamp::rfc3339);
        let payload = Payload {
            last_auth_time: time(self.last_auth_time),
            last_auth_ip: self.last_auth_ip.map(|address| address.to_string()),
            last_pub_activity_time: time(self.last_pub_activity_time),
            last_sub_activity_time: time(self.last_sub_activity_time),
            last_online_time: time(self.last_online_time),
            last_disconnect_time: time(self.last_disconnect_time),
            registry_id: registry.as_str(),
            device_id: device.as_str(),
        };
        serde_json::to_string(&payload).expect("a struct of strings is always JSON")
    }
}

/// The fields in the order of the documented sample.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_auth_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_auth_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_pub_activity_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sub_activity_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_online_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_disconnect_time: Option<String>,
    registry_id: &'a str,
    device_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTH: Timestamp = Timestamp::from_nanoseconds(1_774_346_121_757_092_800);
    const PUBLISH: Timestamp = Timestamp::from_nanoseconds(1_774_346_121_858_181_573);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn prints_the_sample_of_section_8() {
        let mut record = MonitoringRecord::default();
        record.note(Access::Connect(address("::ffff:192.0.2.45")), AUTH);
        record.note(Access::Publish, PUBLISH);
        let json = record.to_json(&RegistryId::new("areregistry"), &DeviceId::new("aredevice"));
        let expected = concat!(
            r#"{"last_auth_time":"2026-03-24T09:55:21.757092800Z","last_auth_ip":"192.0.2.45","#,
            r#""last_pub_activity_time":"2026-03-24T09:55:21.858181573Z","#,
            r#""last_online_time":"2026-03-24T09:55:21.858181573Z","#,
            r#""registry_id":"areregistry","device_id":"aredevice"}"#,
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn nothing_known_leaves_only_the_ids() {
        let json = MonitoringRecord::default().to_json(&RegistryId::new("r"), &DeviceId::new("d"));
        assert_eq!(json, r#"{"registry_id":"r","device_id":"d"}"#);
    }

    #[test]
    fn a_disconnect_is_no_sign_of_life() {
        let mut record = MonitoringRecord::default();
        record.note(Access::Ping, AUTH);
        record.note(Access::Disconnect, PUBLISH);
        assert_eq!(record.last_online_time, Some(AUTH));
        assert_eq!(record.last_disconnect_time, Some(PUBLISH));
    }

    #[test]
    fn merging_in_any_order_gives_the_same() {
        let mut reports = Vec::new();
        for (access, time) in [
            (Access::Connect(address("192.0.2.1")), 10),
            (Access::Connect(address("192.0.2.2")), 30),
            (Access::Publish, 20),
            (Access::Subscribe, 15),
            (Access::Disconnect, 5),
        ] {
            let mut record = MonitoringRecord::default();
            record.note(access, Timestamp::from_nanoseconds(time));
            reports.push(record);
        }
        let merged = |order: &mut dyn Iterator<Item = &MonitoringRecord>| {
            order.fold(MonitoringRecord::default(), |mut sum, report| {
                sum.merge(report);
                sum
            })
        };
        let forward = merged(&mut reports.iter());
        assert_eq!(forward, merged(&mut reports.iter().rev()));
        assert_eq!(forward.last_auth_ip, Some(address("192.0.2.2")));
        assert_eq!(forward.last_online_time, Some(Timestamp::from_nanoseconds(30)));
        assert_eq!(forward.last_pub_activity_time, Some(Timestamp::from_nanoseconds(20)));
    }
}
