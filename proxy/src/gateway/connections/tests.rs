use prometheus::Registry;

use super::*;

const MOST: Most = Most { in_all: 3, per_address: 3 };

fn connections() -> Arc<Connections> {
    Connections::new(Metrics::new(Registry::new()).unwrap())
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// A connection with a request.
fn busy(all: &Arc<Connections>, last: u8, most: Most) -> ConnectionCount {
    let seat = all.enter(address(last), most).unwrap();
    assert!(seat.wake_up());
    seat
}

fn at(second: u64) -> Tick {
    Tick::from_nanos(second * 1_000_000_000)
}

#[test]
fn who_waits_longest_makes_room() {
    let all = connections();
    let seats: Vec<ConnectionCount> = (0..3).map(|n| busy(&all, n, MOST)).collect();
    assert_eq!(all.enter(address(9), MOST).err(), Some(Full::InAll), "all are busy");
    seats[0].rest(at(3));
    seats[1].rest(at(1));
    seats[2].rest(at(2));
    assert!(seats[2].wake_up());
    let fourth = busy(&all, 9, MOST);
    // Going idle doesn't revive a shed connection.
    seats[1].rest(at(9));
    assert_eq!(seats.iter().map(ConnectionCount::wake_up).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(all.enter(address(9), MOST).err(), Some(Full::InAll));
    // Shedding removed it from the count; dropping it doesn't remove it again.
    drop(seats);
    assert_eq!(all.lock().members.len(), 1);
    drop(fourth);
    assert!(all.lock().by_address.is_empty());
    assert_eq!((all.metrics.connections.get(), all.metrics.connections_shed.get()), (0, 1));
}

#[test]
fn an_address_makes_room_for_itself() {
    let all = connections();
    let most = Most { in_all: 9, per_address: 2 };
    let others = busy(&all, 1, most);
    others.rest(at(0));
    let own = [busy(&all, 2, most), busy(&all, 2, most)];
    assert_eq!(all.enter(address(2), most).err(), Some(Full::PerAddress));
    own[1].rest(at(5));
    let third = busy(&all, 2, most);
    assert!(!own[1].wake_up());
    assert!(others.wake_up(), "the others' connections stay");
    drop((own, third));
    assert!(all.enter(address(2), most).is_ok());
}

#[test]
fn a_lower_limit_of_a_reload_sheds_what_is_too_much() {
    let all = connections();
    let seats: Vec<ConnectionCount> = (0..3).map(|n| busy(&all, n, MOST)).collect();
    seats.iter().zip(0..).for_each(|(seat, n)| seat.rest(at(n)));
    let _new = all.enter(address(9), Most { in_all: 2, per_address: 9 }).unwrap();
    assert_eq!(seats.iter().map(ConnectionCount::wake_up).collect::<Vec<_>>(), [false, false, true]);
}

/// Each of them still holds a file descriptor.
#[test]
fn nobody_is_accepted_while_too_many_that_were_shed_are_open() {
    let all = connections();
    let mut open = Vec::new();
    for last in 0..=17 {
        assert!(!all.is_behind(), "{last} were accepted");
        open.push(all.enter(address(last), Most { in_all: 1, per_address: 1 }).unwrap());
    }
    assert!(all.is_behind(), "{MAX_CLOSING} may be open, and one more is");
    open.remove(0);
    assert!(!all.is_behind());
}

#[test]
fn addresses_of_one_network_count_together() {
    let network = |text: &str| network(text.parse().unwrap());
    assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2:ffff::1"));
    assert_ne!(network("2001:db8:1:2::4"), network("2001:db8:1:3::4"));
    assert_eq!(network("::ffff:10.0.0.1"), address(1));
    assert_ne!(network("10.0.0.2"), address(1));
}

#[test]
fn a_client_that_is_named_later_counts_from_then_on() {
    let all = connections();
    let most = Most { in_all: 9, per_address: 1 };
    let unnamed: Vec<ConnectionCount> = (0..3).map(|_| all.enter_unnamed(most).unwrap()).collect();
    unnamed.iter().for_each(|seat| assert!(seat.wake_up()));
    unnamed[0].name_client(address(2), most).unwrap();
    assert_eq!(unnamed[1].name_client(address(2), most).err(), Some(Full::PerAddress));
    assert_eq!(all.enter(address(2), most).err(), Some(Full::PerAddress));
    // An idle one makes room.
    unnamed[0].rest(at(0));
    unnamed[1].name_client(address(2), most).unwrap();
    assert!(!unnamed[0].wake_up() && unnamed[1].wake_up());
    // One that was shed before it was named is counted nowhere.
    unnamed[2].rest(at(0));
    let _others: Vec<_> = (3..11).map(|last| busy(&all, last, most)).collect();
    assert!(!unnamed[2].wake_up());
    unnamed[2].name_client(address(20), most).unwrap();
    drop(unnamed);
    assert!(all.enter(address(20), most).is_ok() && all.enter(address(2), most).is_ok());
}
