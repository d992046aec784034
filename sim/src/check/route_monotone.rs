//! RouteMonotone: a client's process never replaces a route by one of a lower lineage or epoch.

use super::{Check, ClientId, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Epoch, Lineage};

/// The property.
#[derive(Clone, Debug, Default)]
pub struct RouteMonotone {
    routes: BTreeMap<ClientId, (Lineage, Epoch)>,
}

impl Check for RouteMonotone {
    fn name(&self) -> &'static str {
        "RouteMonotone"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::ClientStarted, Kind::Routed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let (client, lineage, epoch) = match *fact {
            Fact::ClientStarted { client } => {
                self.routes.remove(&client);
                return Ok(());
            }
            Fact::Routed { client, lineage, epoch } => (client, lineage, epoch),
            _ => return Ok(()),
        };
        let before = self.routes.insert(client, (lineage, epoch)).unwrap_or_default();
        if before > (lineage, epoch) {
            return Err(format!("client {client} went from {before:?} back to {:?}", (lineage, epoch)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Story;

    fn story(routes: &[(ClientId, Lineage, Epoch)]) -> Story<RouteMonotone> {
        let mut story = Story::new(RouteMonotone::default());
        for &(client, lineage, epoch) in routes {
            story.tell(&Fact::Routed { client, lineage, epoch });
        }
        story
    }

    #[test]
    fn growing_routes_are_accepted() {
        story(&[(1, 1, 1), (1, 1, 1), (2, 1, 0), (1, 1, 3), (1, 2, 1)]).accepted();
    }

    #[test]
    fn a_lower_epoch_is_rejected() {
        story(&[(1, 1, 3), (1, 1, 2)]).rejected("back to (1, 2)");
    }

    #[test]
    fn a_lower_lineage_is_rejected() {
        story(&[(1, 2, 1), (1, 1, 5)]).rejected("back to (1, 5)");
    }

    #[test]
    fn a_new_process_may_begin_anywhere() {
        let mut story = story(&[(1, 1, 3), (2, 1, 3)]);
        story.tell(&Fact::ClientStarted { client: 1 }).tell(&Fact::Routed {
            client: 1,
            lineage: 1,
            epoch: 0,
        });
        story.accepted();
        story.tell(&Fact::Routed { client: 2, lineage: 1, epoch: 0 }).rejected("back to (1, 0)");
    }
}
