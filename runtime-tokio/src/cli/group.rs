//! `steadfast group`: an operator's decisions about a group.

use super::args::ForceArgs;
use super::failure::Failure;
use super::service::Service;
use super::tree::{GroupView, Tree};
use std::time::Duration;
use steadfast_core::coordination::Error;
use steadfast_core::group::{GroupState, Unforced};
use steadfast_runtime::configuration::{Configuration, Settings};
use steadfast_runtime::identity;
use tokio::time::timeout;

/// How long the coordination service may take for one reading and one writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// R24, R27c: gives a group's data up.
///
/// # Errors
/// When somebody alive holds the data, or the coordination service does not do as it is told.
pub async fn force(args: ForceArgs, configuration: &Configuration) -> Result<(), Failure> {
    let settings = &configuration.settings;
    let service = Service::of(configuration)?;
    let mut tree = service.open(settings.transport.kind, settings.coordination.connect_timeout).await?;
    let forced = timeout(PATIENCE, force_in(&mut tree, &args, settings)).await;
    tree.close().await;
    let forced = forced.map_err(|_| {
        Failure::new(
            format!("the coordination service did not answer within {} s", PATIENCE.as_secs()),
            "nothing is known of the outcome: run the command again",
        )
    })??;
    super::print(&format!(
        "group {}: the data of lineage {} is given up; lineage {} begins with the next broker that is registered",
        args.group,
        forced.history.lineage - 1,
        forced.history.lineage
    ))
}

async fn force_in(tree: &mut Tree, args: &ForceArgs, settings: &Settings) -> Result<GroupState, Failure> {
    let root = settings.root();
    let view = tree.group(&root, args.group).await.map_err(|error| refused(&error))?;
    let GroupView { state: Some((state, version)), live } = view else {
        return Err(Failure::new(
            format!("there is no group {} in cluster {:?}", args.group, settings.cluster.name),
            "check --cluster, --group and the service's address",
        ));
    };
    let nonce = identity::nonce();
    let forced = state.force(&live, nonce).map_err(unforced)?;
    match tree.set_group(&root, args.group, (&forced, version)).await {
        Ok(()) => Ok(forced),
        Err(Error::BadVersion) => Err(Failure::new(
            "the group has changed in this moment, so somebody is at work there",
            "wait until it is calm and run the command again if the group still waits",
        )),
        Err(error) => Err(refused(&error)),
    }
}

fn unforced(reason: Unforced) -> Failure {
    match reason {
        Unforced::HolderAlive(holder) => Failure::new(
            format!(
                "broker {} at {} is alive and holds the group's records",
                holder.id.member.node, holder.address
            ),
            "it can lead: leave the group to it, or stop it first if its records are to go",
        ),
        Unforced::NothingHeld => {
            Failure::new("the group holds no records", "start a broker: it begins the new lineage")
        }
    }
}

fn refused(error: &Error) -> Failure {
    Failure::new(
        format!("the coordination service answered {error:?}"),
        "check that it is well and that the address is right, and run the command again",
    )
}
