//! CONNECT: the catalogue of malformed packets, and CONNACK.

use super::{
    CLIENT_IDENTIFIER_BYTES_MAX, ClientIdentifierError, ConnectRef, ConnectReturnCode, PROTOCOL_LEVEL_3_1,
    PROTOCOL_LEVEL_3_1_1, WillRef, check_client_identifier, decode, decode_first, encode_connack,
};
use crate::mqtt::client_side::encode_connect;
use crate::mqtt::frame::{FixedHeader, Frame, FrameLimits, PacketType, next_frame};
use crate::mqtt::qos::QoS;
use crate::mqtt::violation::{ConnectError, Violation};

const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1 << 19 };

/// `MQTT` level 4, the flags, keep alive 60 s, and the rest.
fn body(flags: u8, rest: &[u8]) -> Vec<u8> {
    [&b"\0\x04MQTT\x04"[..], &[flags], b"\0\x3c", rest].concat()
}

/// The same as MQTT 3.1.
fn old_body(flags: u8, rest: &[u8]) -> Vec<u8> {
    [&b"\0\x06MQIsdp\x03"[..], &[flags], b"\0\x3c", rest].concat()
}

/// Decodes a body that is the first packet of a connection.
fn check(body: &[u8]) -> Result<ConnectRef<'_>, ConnectError> {
    let header = FixedHeader { packet_type: PacketType::Connect, flags: 0 };
    decode_first(&Frame { header, body, len: body.len() + 2 })
}

fn violation(body: &[u8]) -> Violation {
    match check(body) {
        Err(ConnectError::Violation(violation)) => violation,
        other => panic!("expected a violation for {body:x?}, got {other:?}"),
    }
}

fn plain(client_id: &str) -> ConnectRef<'_> {
    ConnectRef {
        protocol_level: PROTOCOL_LEVEL_3_1_1,
        clean_session: true,
        keep_alive_s: 60,
        client_id,
        will: None,
        username: None,
        password: None,
    }
}

#[test]
fn every_field_is_read() {
    let will = WillRef { topic: "w/t", payload: b"\0\xff", qos: QoS::ExactlyOnce, retain: true };
    let rest = b"\0\x02id\0\x03w/t\0\x02\0\xff\0\x01u\0\x03\0p\xff";
    let expected =
        ConnectRef { will: Some(will), username: Some("u"), password: Some(b"\0p\xff"), ..plain("id") };
    assert_eq!(check(&body(0b1111_0110, rest)), Ok(expected));
    let unclean = ConnectRef { clean_session: false, ..expected };
    assert_eq!(check(&body(0b1111_0100, rest)), Ok(unclean));
}

#[test]
fn empty_client_identifier_user_name_and_password_are_read() {
    let expected = ConnectRef { username: Some(""), password: Some(b""), ..plain("") };
    assert_eq!(check(&body(0b1100_0010, b"\0\0\0\0\0\0")), Ok(expected));
}

#[test]
fn protocol_3_1_is_accepted() {
    let expected = ConnectRef { protocol_level: PROTOCOL_LEVEL_3_1, ..plain("id") };
    assert_eq!(check(&old_body(2, b"\0\x02id")), Ok(expected));
}

#[test]
fn protocol_3_1_is_read_as_its_own_standard_has_it() {
    let expected = ConnectRef { protocol_level: PROTOCOL_LEVEL_3_1, ..plain("id") };
    // Reserved flag, will QoS and retain without a will; user name and password that are not there.
    for flags in [0b0000_0011, 0b0011_1010, 0b1000_0010, 0b1100_0010] {
        assert_eq!(check(&old_body(flags, b"\0\x02id")), Ok(expected), "{flags:#010b}");
    }
    let with_name = ConnectRef { username: Some("u"), ..expected };
    assert_eq!(check(&old_body(0b1100_0010, b"\0\x02id\0\x01u")), Ok(with_name));
    assert_eq!(violation(&old_body(0b0100_0010, b"\0\x02id\0\x01p")), Violation::PasswordWithoutUsername);
    assert_eq!(violation(&old_body(0b0001_1110, b"\0\x02id\0\x01w\0\0")), Violation::WillQosThree);
    assert_eq!(violation(&old_body(0b1000_0010, b"\0\x02id\0")), Violation::Truncated { field: "user name" });
}

#[test]
fn a11_level_0_2_6_and_132_answer_return_code_1() {
    for level in (0..=u8::MAX).filter(|level| *level != PROTOCOL_LEVEL_3_1_1) {
        // The bytes after the level may be laid out differently, or not be there at all.
        for rest in [&b""[..], b"\x02", b"\x02\0\x3c\x05\x11\0\0\0\x0a\0\0", b"\xff\xff\xff\xff"] {
            let packet = [&b"\0\x04MQTT"[..], &[level], rest].concat();
            assert_eq!(check(&packet), Err(ConnectError::UnacceptableProtocolLevel(level)));
        }
    }
}

#[test]
fn a11_level_of_one_name_under_the_other_answers_return_code_1() {
    assert_eq!(check(b"\0\x04MQTT\x03\x02"), Err(ConnectError::UnacceptableProtocolLevel(3)));
    for level in [0, 4, 5, 0x83] {
        let packet = [&b"\0\x06MQIsdp"[..], &[level, 2]].concat();
        assert_eq!(check(&packet), Err(ConnectError::UnacceptableProtocolLevel(level)));
    }
}

#[test]
fn a11_unknown_protocol_name_closes() {
    for name in [&b""[..], b"M", b"mqtt", b"MQTT\0", b"MQIsdq", b"mqisdp", b"HTTP", b"\xff\xff\xff\xff"] {
        let length = u16::try_from(name.len()).unwrap().to_be_bytes();
        let packet = [&length[..], name, b"\x04\x02\0\0\0\0"].concat();
        assert_eq!(violation(&packet), Violation::ProtocolName, "{name:x?}");
    }
}

#[test]
fn a11_reserved_connect_flag_closes() {
    for flags in (0..=u8::MAX).filter(|flags| flags & 1 == 1) {
        assert_eq!(violation(&body(flags, b"\0\x02id")), Violation::ReservedConnectFlag, "{flags:#010b}");
    }
}

#[test]
fn a9_a11_every_combination_of_connect_flags_is_decided_by_its_clause() {
    // All fields that any flags can ask for, so that only the flags decide.
    for flags in (0..=u8::MAX).filter(|flags| flags & 1 == 0) {
        let bit = |number: u32| flags >> number & 1 == 1;
        let (username, password, retain, will) = (bit(7), bit(6), bit(5), bit(2));
        let will_qos = flags >> 3 & 3;
        let mut rest = b"\0\x02id".to_vec();
        rest.extend_from_slice(if will { b"\0\x01w\0\0" } else { b"" });
        rest.extend_from_slice(if username { b"\0\x01u" } else { b"" });
        rest.extend_from_slice(if password { b"\0\x01p" } else { b"" });
        let expected = match () {
            () if will && will_qos == 3 => Some("MQTT-3.1.2-14"),
            () if !will && will_qos != 0 => Some("MQTT-3.1.2-13"),
            () if !will && retain => Some("MQTT-3.1.2-15"),
            () if password && !username => Some("MQTT-3.1.2-22"),
            () => None,
        };
        let packet = body(flags, &rest);
        let found = check(&packet).err().map(|_| violation(&packet).clause());
        assert_eq!(found, expected, "{flags:#010b}");
    }
}

#[test]
fn a7_every_truncation_of_a_full_connect_closes() {
    let full = body(0b1100_0110, b"\0\x02id\0\x01w\0\x02ab\0\x01u\0\x01p");
    assert!(check(&full).is_ok());
    for end in 0..full.len() {
        let violation = violation(&full[..end]);
        assert_eq!(violation.clause(), "MQTT-2.2.3", "{end} bytes: {violation}");
    }
}

#[test]
fn a7_bytes_after_the_last_field_close() {
    for rest in [&b"\0\x02id\0"[..], b"\0\x02id\0\0", b"\0\x02id\0\x01u"] {
        let bytes = rest.len() - 4;
        let packet_type = PacketType::Connect;
        assert_eq!(violation(&body(2, rest)), Violation::TrailingBytes { packet_type, bytes });
    }
}

#[test]
fn a7_lengths_that_lie_close() {
    for (flags, rest, field) in [
        (0x02, &b"\xff\xffid"[..], "client identifier"),
        (0x06, b"\0\x02id\xff\xffw", "will topic"),
        (0x06, b"\0\x02id\0\x01w\xff\xff", "will message"),
        (0x82, b"\0\x02id\xff\xffu", "user name"),
        (0xc2, b"\0\x02id\0\x01u\xff\xffp", "password"),
    ] {
        assert_eq!(violation(&body(flags, rest)), Violation::Truncated { field });
    }
    assert_eq!(violation(b"\xff\xffMQTT\x04"), Violation::Truncated { field: "protocol name" });
}

#[test]
fn a10_ill_formed_strings_close() {
    let ill_formed: [&[u8]; 7] = [
        b"\xff",
        b"\x80",
        b"\xc0\x80",                 // U+0000 in two bytes
        b"\xc0\xaf",                 // slash in two bytes
        b"\xed\xa0\x80",             // U+D800
        b"\xf4\x90\x80\x80",         // above U+10FFFF
        b"\xed\xa0\x80\xed\xb0\x80", // surrogate pair
    ];
    for string in ill_formed {
        let encoded = [&[0, u8::try_from(string.len()).unwrap()][..], string].concat();
        for (flags, before, after, field) in [
            (0x02, &b""[..], &b""[..], "client identifier"),
            (0x06, b"\0\x02id", b"\0\0", "will topic"),
            (0x82, b"\0\x02id", b"", "user name"),
        ] {
            let packet = body(flags, &[before, &encoded, after].concat());
            assert_eq!(violation(&packet), Violation::IllFormedUtf8 { field }, "{string:x?}");
        }
    }
}

#[test]
fn a10_nul_in_a_string_closes() {
    for (flags, rest, field) in [
        (0x02, &b"\0\x01\0"[..], "client identifier"),
        (0x06, b"\0\x02id\0\x02w\0\0\0", "will topic"),
        (0x82, b"\0\x02id\0\x01\0", "user name"),
    ] {
        assert_eq!(violation(&body(flags, rest)), Violation::NulCharacter { field });
    }
}

#[test]
fn a10_unusual_characters_are_kept_as_they_are() {
    // Byte order mark, non-character, control characters, and two forms of one letter that stay two identifiers.
    for client_id in ["\u{feff}id", "\u{fffe}", "\r\n\u{1}\u{7f}", "e\u{301}", "\u{e9}", "a/+/#", "%c", "../"]
    {
        let length = u16::try_from(client_id.len()).unwrap().to_be_bytes();
        let packet = body(2, &[&length[..], client_id.as_bytes()].concat());
        assert_eq!(check(&packet).unwrap().client_id, client_id);
    }
}

#[test]
fn a10_fields_of_65535_bytes_are_read_and_left_to_the_limits_of_the_session() {
    let long = "x".repeat(65_535);
    let connect = ConnectRef { username: Some(&long), password: Some(long.as_bytes()), ..plain(&long) };
    let mut packet = Vec::new();
    encode_connect(&mut packet, &connect).unwrap();
    let frame = next_frame(&packet, LIMITS).unwrap().unwrap();
    assert_eq!(decode(&frame), Ok(connect));
}

#[test]
fn a2_first_packet_other_than_connect_closes() {
    for packet in [&b"\x30\x03\0\x01t"[..], b"\xc0\0", b"\xe0\0", b"\x82\x06\0\x01\0\x01#\0", b"\x20\x02\0\0"]
    {
        let frame = next_frame(packet, LIMITS).unwrap().unwrap();
        let packet_type = frame.header.packet_type;
        let expected = Violation::FirstPacketNotConnect { packet_type };
        assert_eq!(decode_first(&frame), Err(expected.into()));
    }
}

#[test]
fn a11_connect_with_flags_in_the_fixed_header_closes() {
    for flags in 1..16 {
        let error = next_frame(&[0x10 | flags, 0], LIMITS).unwrap_err();
        assert_eq!(error, Violation::ReservedFlags { packet_type: PacketType::Connect, flags });
    }
}

#[test]
fn a10_client_identifier_rule() {
    let long = "x".repeat(CLIENT_IDENTIFIER_BYTES_MAX + 1);
    let unclean = |client_id| ConnectRef { clean_session: false, ..plain(client_id) };
    let empty = ClientIdentifierError::EmptyWithoutCleanSession;
    let too_long = ClientIdentifierError::TooLong { bytes: 257, max: CLIENT_IDENTIFIER_BYTES_MAX };
    for (connect, expected) in [
        (plain(""), Ok(())),
        (unclean(""), Err(empty)),
        (unclean("a"), Ok(())),
        (plain(&long[1..]), Ok(())),
        (plain(&long), Err(too_long)),
        (unclean(&long), Err(too_long)),
    ] {
        assert_eq!(check_client_identifier(&connect), expected);
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let will = WillRef { topic: "w", payload: b"hidden", qos: QoS::AtMostOnce, retain: false };
    let connect =
        ConnectRef { will: Some(will), username: Some("u"), password: Some(b"hidden"), ..plain("id") };
    let shown = format!("{connect:?}");
    assert!(!shown.contains("hidden") && !shown.contains(&format!("{:?}", b"hidden")), "{shown}");
    assert!(shown.contains("has_password: true"), "{shown}");
}

#[test]
fn connack_never_claims_a_session_when_it_refuses() {
    for (present, code, expected) in [
        (false, ConnectReturnCode::Accepted, [0x20, 2, 0, 0]),
        (true, ConnectReturnCode::Accepted, [0x20, 2, 1, 0]),
        (true, ConnectReturnCode::NotAuthorized, [0x20, 2, 0, 5]),
    ] {
        let mut out = Vec::new();
        encode_connack(&mut out, present, code);
        assert_eq!(out, expected);
    }
    for byte in 0..=u8::MAX {
        assert_eq!(ConnectReturnCode::from_byte(byte).map(|code| code as u8), (byte < 6).then_some(byte));
    }
}
