use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Delay, Proxy};
use crate::runtime::WAIT;

/// Short enough to look at silence, long enough to be no accident. Only "nothing came" depends on it.
const SILENCE: Duration = Duration::from_millis(200);

/// A connection that node 0 opens to node 1, and node 1's end of it.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
}

fn dial(proxy: &Proxy) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 1, 1], 0)).into()).unwrap();
    socket.connect(&proxy.door(1).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

fn line() -> Line {
    let proxy = Proxy::new(2);
    let listener = TcpListener::bind(proxy.target(1)).unwrap();
    let near = dial(&proxy);
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(WAIT)).unwrap();
    Line { proxy, listener, near, far }
}

fn passes(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"abc").unwrap();
    let mut read = [0; 3];
    to.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"abc");
}

fn is_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(WAIT)).unwrap();
}

#[test]
fn bytes_pass_both_ways() {
    let mut line = line();
    passes(&mut line.near, &mut line.far);
    passes(&mut line.far, &mut line.near);
}

#[test]
fn a_cut_holds_one_direction_back_and_healing_delivers() {
    let mut line = line();
    line.proxy.change(|table| table.pair(0, 1).cut = true);
    line.near.write_all(b"late").unwrap();
    passes(&mut line.far, &mut line.near);
    is_silent(&mut line.far);
    line.proxy.change(|table| table.clear());
    let mut read = [0; 4];
    line.far.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"late");
}

#[test]
fn the_end_of_a_connection_is_held_back_as_well() {
    let mut line = line();
    line.proxy.change(|table| table.pair(0, 1).cut = true);
    drop(line.near);
    is_silent(&mut line.far);
    line.proxy.change(|table| table.clear());
    assert_eq!(line.far.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_connection_dialled_into_a_cut_hangs_until_it_is_healed() {
    let line = line();
    line.proxy.change(|table| table.pair(1, 0).cut = true);
    let mut near = dial(&line.proxy);
    near.write_all(b"hello").unwrap();
    line.listener.set_nonblocking(true).unwrap();
    is_silent(&mut near);
    assert_eq!(line.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    line.proxy.change(|table| table.clear());
    line.listener.set_nonblocking(false).unwrap();
    let (mut far, _) = line.listener.accept().unwrap();
    let mut read = [0; 5];
    far.read_exact(&mut read).unwrap();
}

#[test]
fn refusing_ends_what_is_open_and_what_comes() {
    let mut line = line();
    line.proxy.change(|table| table.pair(0, 1).refuse = true);
    assert_eq!(line.far.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(line.near.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(dial(&line.proxy).read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn a_delay_delays_and_keeps_the_order() {
    let mut line = line();
    let delay = Delay { fixed: Duration::from_millis(50), random: Duration::from_millis(50) };
    line.proxy.change(|table| table.delay = delay);
    let started = Instant::now();
    for byte in 0..50_u8 {
        line.near.write_all(&[byte]).unwrap();
    }
    let mut read = [0; 50];
    line.far.read_exact(&mut read).unwrap();
    assert!(started.elapsed() >= delay.fixed);
    assert!(read.is_sorted());
}
