//! What the server records about a device, on the monitoring topic (U-T23) and in the API.

use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role},
    runtime::run,
};
use rookery_proto::yandex::cloud::iot::devices::v1 as devices;
use serde_json::Value;

use crate::fixture;

/// The next report about D1.
async fn report(watcher: &mut Client, fixture: &Fixture<'_>) -> Value {
    let message = watcher.receive().await;
    assert_eq!((message.topic, message.quality), (fixture.expand("$monitoring/{D1}/json"), 0));
    serde_json::from_slice(&message.payload).expect("the report is JSON")
}

/// Waits for the first report with the field.
async fn report_with(watcher: &mut Client, fixture: &Fixture<'_>, field: &str) -> Value {
    loop {
        let report = report(watcher, fixture).await;
        if report.get(field).is_some() {
            return report;
        }
    }
}

#[test]
fn subscribing_brings_the_current_report_once() {
    run(async {
        let fixture = fixture().await;
        let mut first = fixture.subscriber(Role::R, "$monitoring/{D1}/json").await;
        let device = fixture.connect(Role::D1).await;
        let told = report_with(&mut first, &fixture, "last_auth_time").await;
        assert_eq!(told["device_id"], fixture.id(Role::D1));
        device.disconnect().await;
        report_with(&mut first, &fixture, "last_disconnect_time").await;
        let mut second = fixture.subscriber(Role::D2, "$monitoring/{D1}/json").await;
        let snapshot = report(&mut second, &fixture).await;
        assert_eq!(snapshot["last_auth_time"], told["last_auth_time"]);
        assert!(
            snapshot.get("last_pub_activity_time").is_none(),
            "fields without a value are left out: {snapshot}"
        );
        second.expect_nothing().await;
    });
}

#[test]
fn every_access_is_reported() {
    run(async {
        let fixture = fixture().await;
        let mut watcher = fixture.subscriber(Role::D2, "$monitoring/{D1}/json").await;
        let mut device = fixture.connect(Role::D1).await;
        let connected = report_with(&mut watcher, &fixture, "last_auth_time").await;
        assert!(connected.get("last_online_time").is_some());
        device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
        report_with(&mut watcher, &fixture, "last_pub_activity_time").await;
        assert_eq!(device.subscribe_one("$me/device/commands").await, 1);
        report_with(&mut watcher, &fixture, "last_sub_activity_time").await;
        device.disconnect().await;
        report_with(&mut watcher, &fixture, "last_disconnect_time").await;
    });
}

#[test]
fn a_burst_of_accesses_is_one_report() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.connect(Role::D1).await;
        let mut watcher = fixture.subscriber(Role::R, "$monitoring/{D1}/json").await;
        report(&mut watcher, &fixture).await;
        for _ in 0..50 {
            device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
        }
        watcher.fence().await;
        let reports = watcher.take_inbox().len();
        assert!(reports < 10, "reports are coalesced to one per second: {reports} for 50 publishes");
    });
}

async fn monitoring_data(fixture: &Fixture<'_>) -> devices::DeviceMonitoringData {
    let device = fixture.api.device(fixture.entity(Role::D1)).await.expect("the device is read");
    device.monitoring_data.unwrap_or_default()
}

#[test]
fn the_full_view_of_a_device_shows_it() {
    run(async {
        let fixture = fixture().await;
        let events = fixture.expand("$devices/{D1}/events");
        fixture.api.publish(fixture.entity(Role::D1), &events, b"x").await.expect("the publish is accepted");
        assert_eq!(monitoring_data(&fixture).await, Default::default(), "U-P6: only MQTT access counts");
        let mut watcher = fixture.subscriber(Role::R, "$monitoring/{D1}/json").await;
        let mut device = fixture.connect(Role::D1).await;
        device.publish(&events, b"x").await;
        // The node writes last-seen times down every few seconds; each round here waits for the next report.
        let data = loop {
            device.fence().await;
            report(&mut watcher, &fixture).await;
            let data = monitoring_data(&fixture).await;
            if data.last_pub_activity_time.is_some() {
                break data;
            }
        };
        assert!(data.last_auth_ip.starts_with("127."), "{data:?}");
        assert!(data.last_auth_time.is_some() && data.last_online_time.is_some(), "{data:?}");
        assert!(data.last_sub_activity_time.is_none(), "{data:?}");

        let request =
            devices::GetDeviceRequest { device_id: fixture.id(Role::D1).into(), ..Default::default() };
        let basic = fixture.api.devices().get(request).await.expect("the device is read").into_inner();
        assert_eq!(basic.monitoring_data, None, "the basic view leaves it out");
    });
}
