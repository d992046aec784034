//! What a client believes of its group: a route that never goes back.

use crate::id::{Endpoint, Epoch, GroupId};
use crate::message::{History, Route};

/// Where to find the primary, and of which reign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) group_id: GroupId,
    pub(super) epoch: Epoch,
    pub(super) endpoint: Endpoint,
}

/// What became of an offered route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It says more than what was known.
    Accepted,
    /// It says nothing new, or goes back.
    Ignored,
    /// It names another group log: only an answer read with a sync can replace this one (R26).
    NeedsFresh,
}

#[derive(Clone, Debug)]
struct Known {
    history: History,
    epoch: Epoch,
    config: u64,
    primary: Option<Endpoint>,
    /// A fresh answer has named this group log.
    confirmed: bool,
}

/// The best route, and a hint above it.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    known: Option<Known>,
    /// From a broker's refusal: used only while it names a higher epoch than the route.
    hint: Option<(Epoch, Endpoint)>,
}

impl Routes {
    /// The history that the best route names.
    pub(super) fn history(&self) -> Option<History> {
        self.known.as_ref().map(|known| known.history)
    }

    /// Whether an answer read with a sync has named this group log, in no later lineage.
    pub(super) fn confirms(&self, history: History) -> bool {
        self.known.as_ref().is_some_and(|known| {
            known.confirmed
                && known.history.group_id == history.group_id
                && known.history.lineage <= history.lineage
        })
    }

    /// Whom to dial.
    pub(super) fn target(&self) -> Option<Target> {
        let known = self.known.as_ref()?;
        let group_id = known.history.group_id;
        match (&self.hint, &known.primary) {
            (Some((epoch, endpoint)), _) => {
                Some(Target { group_id, epoch: *epoch, endpoint: endpoint.clone() })
            }
            (None, Some(endpoint)) => {
                Some(Target { group_id, epoch: known.epoch, endpoint: endpoint.clone() })
            }
            (None, None) => None,
        }
    }

    /// Takes a route if it does not go back.
    pub(super) fn offer(&mut self, route: &Route) -> Verdict {
        let Some(history) = route.history else { return Verdict::Ignored };
        let offered = Known {
            history,
            epoch: route.epoch,
            config: route.config,
            primary: route.primary.clone(),
            confirmed: route.fresh,
        };
        match &mut self.known {
            Some(known) if known.history.group_id == history.group_id => {
                known.confirmed |= route.fresh;
                if !known.advance(offered) {
                    return Verdict::Ignored;
                }
                self.hint.take_if(|(epoch, _)| *epoch <= route.epoch);
            }
            Some(_) if !route.fresh && !sabotage!(StrangersBelieved) => return Verdict::NeedsFresh,
            _ => {
                self.known = Some(offered);
                self.hint = None;
            }
        }
        Verdict::Accepted
    }

    /// Takes a broker's hint, if it names a higher epoch than anything known.
    pub(super) fn hint(&mut self, endpoint: Endpoint, epoch: Epoch) -> bool {
        let higher = self.target().is_none_or(|target| target.epoch < epoch)
            && self.known.as_ref().is_some_and(|known| known.epoch < epoch);
        if higher {
            self.hint = Some((epoch, endpoint));
        }
        higher
    }

    /// The hint led nowhere.
    pub(super) fn forget_hint(&mut self, endpoint: &Endpoint) {
        self.hint.take_if(|(_, hinted)| hinted == endpoint);
    }

    /// A broker has shown this lineage: nothing of a lower one is accepted any more (R27).
    pub(super) fn raise(&mut self, history: History) {
        if let Some(known) = &mut self.known
            && known.history.group_id == history.group_id
            && known.history.lineage < history.lineage
        {
            known.history = history;
            known.config = 0;
        }
    }
}

impl Known {
    const fn key(&self) -> (u64, Epoch, u64) {
        (self.history.lineage, self.epoch, self.config)
    }

    /// I17: (lineage, epoch, configuration) never goes back. At the same place an address may appear.
    fn advance(&mut self, offered: Self) -> bool {
        let learns = offered.primary.is_some() && offered.primary != self.primary;
        if sabotage!(RoutesGoBack) || offered.key() > self.key() || (offered.key() == self.key() && learns) {
            *self = Self { confirmed: self.confirmed, ..offered };
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Address, Incarnation, NodeName};
    use crate::time::Duration;

    fn endpoint(node: &str) -> Endpoint {
        Endpoint {
            node: NodeName::new(node).unwrap(),
            incarnation: Incarnation(7),
            address: Address::new(node).unwrap(),
        }
    }

    fn route(group: u128, lineage: u64, epoch: Epoch, config: u64, primary: Option<&str>) -> Route {
        Route {
            group: 0,
            groups: 1,
            history: Some(History { group_id: GroupId(group), lineage }),
            epoch,
            config,
            primary: primary.map(endpoint),
            retry_after: Duration::ZERO,
            age: Duration::ZERO,
            fresh: false,
        }
    }

    fn target(routes: &Routes) -> Option<(Epoch, Endpoint)> {
        routes.target().map(|target| (target.epoch, target.endpoint))
    }

    #[test]
    fn a_route_never_goes_back() {
        let mut routes = Routes::default();
        assert_eq!(routes.offer(&route(1, 2, 5, 9, Some("b"))), Verdict::Accepted);
        for (lineage, epoch, config) in [(1, 9, 99), (2, 4, 99), (2, 5, 8)] {
            let old = route(1, lineage, epoch, config, Some("a"));
            assert_eq!(routes.offer(&old), Verdict::Ignored, "{lineage} {epoch} {config}");
        }
        assert_eq!(target(&routes), Some((5, endpoint("b"))));
        assert_eq!(routes.offer(&route(1, 3, 6, 1, None)), Verdict::Accepted);
        assert_eq!(routes.target(), None);
        assert_eq!(routes.offer(&route(1, 3, 6, 1, Some("c"))), Verdict::Accepted, "an address appears");
        assert_eq!(routes.offer(&route(1, 3, 6, 1, None)), Verdict::Ignored, "and does not disappear");
        assert_eq!(target(&routes), Some((6, endpoint("c"))));
    }

    #[test]
    fn another_group_log_needs_a_fresh_answer() {
        let mut routes = Routes::default();
        routes.offer(&route(1, 2, 5, 9, Some("b")));
        let other = route(2, 1, 1, 1, Some("a"));
        assert_eq!(routes.offer(&other), Verdict::NeedsFresh);
        let history = History { group_id: GroupId(2), lineage: 1 };
        assert!(!routes.confirms(history));
        assert_eq!(routes.offer(&Route { fresh: true, ..other }), Verdict::Accepted);
        assert!(routes.confirms(history));
        assert!(!routes.confirms(History { lineage: 0, ..history }));
        assert_eq!(target(&routes), Some((1, endpoint("a"))));
    }

    #[test]
    fn hints_count_only_above_the_route() {
        let mut routes = Routes::default();
        assert!(!routes.hint(endpoint("z"), 9), "nothing is known to compare with");
        routes.offer(&route(1, 1, 5, 1, Some("a")));
        assert!(!routes.hint(endpoint("b"), 5));
        assert!(routes.hint(endpoint("b"), 6));
        assert_eq!(target(&routes), Some((6, endpoint("b"))));
        assert!(!routes.hint(endpoint("c"), 6));
        routes.forget_hint(&endpoint("c"));
        assert_eq!(target(&routes), Some((6, endpoint("b"))));
        routes.forget_hint(&endpoint("b"));
        assert_eq!(target(&routes), Some((5, endpoint("a"))));
        assert!(routes.hint(endpoint("b"), 6));
        routes.offer(&route(1, 1, 6, 2, Some("c")));
        assert_eq!(target(&routes), Some((6, endpoint("c"))), "the route has caught up");
    }

    #[test]
    fn a_lineage_once_seen_is_a_floor() {
        let mut routes = Routes::default();
        routes.offer(&route(1, 1, 5, 8, Some("a")));
        routes.raise(History { group_id: GroupId(1), lineage: 2 });
        assert_eq!(routes.offer(&route(1, 1, 6, 9, Some("a"))), Verdict::Ignored);
        assert_eq!(routes.offer(&route(1, 2, 6, 9, Some("b"))), Verdict::Accepted);
        routes.raise(History { group_id: GroupId(2), lineage: 9 });
        assert_eq!(routes.history(), Some(History { group_id: GroupId(1), lineage: 2 }));
    }
}
