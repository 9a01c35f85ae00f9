import Primitives

/// Deleting keys whose time is over, without anyone asking for them.
extension StoreWorker {
    /// Visits up to `buckets` buckets of the worker's own stripes, and loads the entries whose slot
    /// says that they have an expiry.
    func expireCycle(buckets: Int) {
        guard activeExpiry else { return }
        sweep(&expiryHand, buckets: buckets, wanted: Table.volatileBit) { slot, table, _ in
            if let expiry = self.entry(slot).expiry, expiry <= self.now {
                self.expire(slot, table)
            }
            return true
        }
    }
}
