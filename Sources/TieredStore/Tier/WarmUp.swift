import Primitives

/// A worker's way through its part of the index, in search of values that were in RAM when the checkpoint
/// was written.
struct WarmUp {
    var hand: SweepHand
    /// Reads on their way, oldest first; the tables their keys are in.
    var reads = RingQueue<(record: StagedRecord, hash: UInt64, tables: Int)>()
    /// Nothing more is asked for: all has been looked at, or RAM is full.
    var hasAskedForAll = false

    /// Reads on their way, at most.
    static let readsAtATime = 64
    /// Buckets looked at in one turn.
    static let bucketsATurn = 64
}

/// Bringing back, beside clients, what was in RAM before a restart.
///
/// Why: a start has all keys within the second, and any value can be read from then on. The last checkpoint
/// has written values in the order in which they are asked for here, so that many come with one read.
extension StoreWorker {
    public func beginWarmUp() {
        warmUp = WarmUp(hand: SweepHand(stripe: index, step: store.options.workers))
    }

    /// One slice. Returns whether there is more to do at once.
    func warmSlice() -> Bool {
        guard warmUp != nil else { return false }
        takeWarmed()
        if excess >= 0 || !waiters.isEmpty { warmUp!.hasAskedForAll = true }
        askForWarm()
        if warmUp!.hasAskedForAll, warmUp!.reads.isEmpty {
            warmUp = nil
            return false
        }
        return !warmUp!.hasAskedForAll && warmUp!.reads.count < WarmUp.readsAtATime
    }

    /// Asks for values of the next buckets, unless clients' reads wait for a buffer.
    private func askForWarm() {
        guard var warm = warmUp, !warm.hasAskedForAll else { return }
        // Only one reference: the queue is changed in place.
        warmUp = nil
        var left = WarmUp.bucketsATurn
        while left > 0, warm.hand.rounds == 0, warm.reads.count < WarmUp.readsAtATime,
            staging.waiting.isEmpty {
            var hand = warm.hand
            sweep(&hand, buckets: 8, wanted: 0) { slot, _, tables in
                guard slot.pointee & Table.residentBit == 0 else { return true }
                let entry = self.entry(slot)
                guard entry.frequency > 0, !(entry.expiry.map { $0 <= self.now } ?? false)
                else { return true }
                let hash = self.hash(entry.key)
                let (record, _) = self.stage(
                    entry.address, hash: hash, token: StagingTable.nobody, counts: false)
                warm.reads.append((record, hash, tables))
                return true
            }
            warm.hand = hand
            left -= 8
        }
        if warm.hand.rounds > 0 { warm.hasAskedForAll = true }
        warmUp = warm
    }

    private func takeWarmed() {
        while let (record, hash, tables) = warmUp!.reads.first,
            staging[record.index].pointee.state != .reading {
            _ = warmUp!.reads.popFirst()
            promoteWarm(record.index, hash, tables)
            unstage(record)
        }
    }

    private func promoteWarm(_ index: UInt32, _ hash: UInt64, _ tables: Int) {
        guard staging[index].pointee.state == .ready else { return }
        let stripe = stripes.number(of: hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + tables
        // Gone, changed or moved meanwhile: then whoever wants it reads it.
        guard let slot = table.pointee.find(hash, staging[index].pointee.address, base: base),
            slot.pointee & Table.residentBit == 0
        else { return }
        if let structure = staging.takeStructure(index) {
            promote(slot, table, stripe, structure)
        } else {
            let value = ByteView(staging[index].pointee.value!, staging[index].pointee.valueCount)
            guard promote(slot, table, stripe, value) else { return }
        }
        counters.warmedValues += 1
    }
}
