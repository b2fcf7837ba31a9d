//! What must hold, whatever goes wrong.

use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{LEASE, MS, STEP, Weather, World};

const CALM: Weather =
    Weather { delay_max: 0, lost: 0, crashes: 0, pauses: 0, elections: 0, reports: 0, commits: 300 };

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_given_up_under_a_lease(
        seed in any::<u64>(),
        is_large in any::<bool>(),
        delay_ms in 0_u64..1_500,
        lost in 0_u32..300,
        crashes in 0_u32..4,
        pauses in 0_u32..4,
        elections in 0_u32..3,
        reports in 0_u32..20,
        commits in 3_u32..200,
    ) {
        let weather = Weather { delay_max: delay_ms * MS, lost, crashes, pauses, elections, reports, commits };
        let mut world = World::new(seed, if is_large { 5 } else { 3 }, weather);
        world.run(90_000 * MS);
        prop_assert!(world.fault.is_none(), "{}", world.fault.unwrap());
    }

    #[test]
    fn a_node_that_is_fine_keeps_its_lease(seed in any::<u64>(), delay_ms in 0_u64..400) {
        // A request and its answer take up to 0.8 s; three of them fit into a lease with what lies between.
        let mut world = World::new(seed, 3, Weather { delay_max: delay_ms * MS, ..CALM });
        world.run(15_000 * MS);
        prop_assert!((0..3).all(|index| world.has_lease(index)), "all have registered");
        while world.now < 40_000 * MS {
            let until = world.now + STEP;
            world.run(until);
            prop_assert!((0..3).all(|index| world.has_lease(index)));
        }
        prop_assert!(world.given_up.is_empty());
    }

    #[test]
    fn a_dead_node_is_given_up_and_the_others_go_on(seed in any::<u64>(), victim in 0_usize..3) {
        let mut world = World::new(seed, 3, Weather { delay_max: 20 * MS, ..CALM });
        world.run(15_000 * MS);
        world.processes[victim].crash();
        let killed_at = world.now;
        world.run(killed_at + 20_000 * MS);
        prop_assert!(world.fault.is_none());
        let given_up: Vec<u64> = world.given_up.iter().map(|(_, node_id)| *node_id).collect();
        prop_assert_eq!(given_up, vec![victim as u64 + 1]);
        prop_assert!((0..3).all(|index| (index == victim) != world.has_lease(index)));
    }

    #[test]
    fn of_two_that_cannot_talk_one_goes_and_the_rest_serves(seed in any::<u64>()) {
        let mut world = World::new(seed, 3, Weather { delay_max: 20 * MS, ..CALM });
        world.run(15_000 * MS);
        let leader = world.elections.last().unwrap().1.1;
        let others: Vec<u64> = (1..=3).filter(|node_id| *node_id != leader).collect();
        world.processes[others[0] as usize - 1].unreachable.insert(others[1]);
        let cut_at = world.now;
        world.run(cut_at + 12_000 * MS);
        prop_assert!(world.fault.is_none());
        prop_assert_eq!(world.given_up.len(), 1, "and it stays away while the pair is cut");
        let (given_up_at, node_id) = world.given_up[0];
        prop_assert_eq!(node_id, others[1]);
        prop_assert!(given_up_at < cut_at + LEASE + 4_000 * MS, "it takes its leave, so nobody waits for its lease");
        world.processes[others[0] as usize - 1].unreachable.clear();
        let healed_at = world.now;
        world.run(healed_at + 5_000 * MS);
        prop_assert!((0..3).all(|index| world.has_lease(index)));
    }
}
