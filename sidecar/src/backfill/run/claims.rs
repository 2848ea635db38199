//! Claims on the bundles of a load, so that no other run loads their files in another form.

use super::RunError;
use crate::backfill::insert::{Route, settle};
use crate::backfill::ledger::{Claim, LedgerError};
use crate::backfill::plan::{Bundle, RacedLoad, overtaking};

/// What the claims of a load need.
pub(super) struct BundleClaims {
    pub(super) route: Route,
    pub(super) database: String,
    pub(super) job: String,
    /// Whether the cluster's tables are replicated.
    pub(super) replicated: bool,
}

impl BundleClaims {
    /// Claims a bundle that no run has begun.
    ///
    /// # Errors
    /// [`RacedLoad`] if another run has some of its files; the claim is given up then.
    pub(super) async fn claim(&self, bundle: &Bundle) -> anyhow::Result<()> {
        // A route has at least one shard.
        let Some(first) = self.route.destinations.first() else { return Ok(()) };
        let claim = Claim::new(first, &self.database, &self.job, &bundle.id).await?;
        let raced = match self.overtaking(bundle).await {
            Ok(None) => return Ok(()),
            Ok(Some(location)) => RacedLoad::at(&location).into(),
            Err(error) => RunError::Asked(error).into(),
        };
        claim.give_up(first, &self.database).await?;
        Err(raced)
    }

    async fn overtaking(&self, bundle: &Bundle) -> Result<Option<String>, LedgerError> {
        if self.replicated {
            // Claims of other runs, on any replica.
            settle(&self.database, &self.route.nodes, "sharded_backfill_ledger").await?;
        }
        overtaking(&self.database, self.route.any(), bundle).await
    }
}
