import Primitives

/// What a command that needs RAM is told.
public enum Admission { case go, wait, refused }

/// The slices of work a loop does for the store between requests, and the gate for writers.
extension StoreWorker {
    /// One slice: demotion, evacuation, compaction, expiry. Call once a turn; returns whether
    /// there is more to do at once, so that the loop must not sleep.
    public func background() -> Bool {
        // Writers waiting: work for them before anything else.
        let urgent = !waiters.isEmpty
        if excess > 0 || urgent { demoteExcess(buckets: urgent ? 2048 : 512) } else { exhausted = false }
        // In this order: what was begun is ended first.
        let isSerializing = serialize(), isRestoring = restoreSlice(), isGivingBack = giveBack()
        let isSaving = saveSlice(), isWarming = warmSlice()
        let isSlicing = isSerializing || isRestoring || isGivingBack || isSaving || isWarming
        flushIfStale()
        retryFullDisk()
        evacuate(pages: urgent ? 4 : 1)
        compact(records: compactionBudget)
        relieveFullDisk()
        if urgent { wakeWriters() }
        let scanning = compaction.phase == .scanning && buffers.freeWrites > 0
        return (excess > 0 && !exhausted && buffers.freeWrites > 0) || scanning || isSlicing
    }

    /// One slice of active expiry; the loop calls it `hz` times a second.
    public func expire(buckets: Int = 4096) { expireCycle(buckets: buckets) }

    /// May a command that will take about `bytes` of RAM run now? `wait`: its session is made
    /// runnable when it may try again. `refused`: it can never run under the policy in force.
    /// `holding`: the caller holds stripes. Evicting takes stripes in an order of its own, so that nothing is
    /// evicted then: the session waits, and `background` evicts for it.
    public func admit(_ bytes: Int, token: UInt32, holding: Bool = false) -> Admission {
        if ledger.used + bytes <= ledger.limit { return .go }
        if bytes < 4096, slabs.hasFreeCell(bytes) { return .go }
        if bytes > ledger.requestMax { return .refused }
        // Fragmentation alone is not the client's fault.
        if usedLive + bytes <= ledger.limit, !slabs.canBeEmptied { return .go }
        if isStuck, holding {
            if store.policy == .noEviction { return .refused }
            if findsNoVictim {
                // Who comes next has it tried again.
                findsNoVictim = false
                return .refused
            }
        } else if isStuck {
            for _ in 0..<64 {
                guard evictOne() else { return .refused }
                if ledger.used + bytes <= ledger.limit || usedLive + bytes <= ledger.limit { return .go }
            }
        }
        waiters.append((token, bytes))
        counters.throttled += 1
        return .wait
    }

    /// Whether `admit` would let a command in now. Asks on nobody's behalf.
    public func hasRoom(_ bytes: Int) -> Bool {
        ledger.used + bytes <= ledger.limit || bytes < 4096 && slabs.hasFreeCell(bytes)
            || usedLive + bytes <= ledger.limit && !slabs.canBeEmptied
    }

    /// Whether `admit` would refuse: it is more than may ever be, or nothing can leave RAM any more.
    public func refuses(_ bytes: Int) -> Bool {
        if hasRoom(bytes) { return false }
        return bytes > ledger.requestMax || isStuck && store.policy == .noEviction
    }

    /// Nothing can leave RAM any more: no value to demote, or no place to demote it to.
    private var isStuck: Bool {
        if refusesWrites { return true }
        if store.leavingBytes > 0 || requestsInFlight > 0 { return false }
        if serialization != nil || !restorations.isEmpty || !buried.isEmpty { return false }
        return exhausted || isDiskFull
    }

    /// No segment for demotion and nothing for compaction, or the next checkpoint, to gain.
    var isDiskFull: Bool {
        if log.retiredCount > 0 { return false }
        let none = log.freeCount <= log.reserve || log.isOutOfSpace
        return none && compaction.phase == .idle && !log.hasVictim(below: 0.95)
    }

    public var waitingWriters: Int { waiters.count }

    private func wakeWriters() {
        evictForWriters()
        while let (token, bytes) = waiters.first {
            guard ledger.used + bytes <= ledger.limit || slabs.hasFreeCell(bytes)
                || usedLive + bytes <= ledger.limit && !slabs.canBeEmptied || isStuck
            else { return }
            _ = waiters.popFirst()
            runnable.append(token)
        }
    }

    /// Nothing can leave RAM: a writer that held stripes when it asked is waiting for this. It is told that
    /// nothing was found when it asks again.
    private func evictForWriters() {
        guard isStuck, store.policy != .noEviction else { return findsNoVictim = false }
        guard let (_, bytes) = waiters.first else { return }
        for _ in 0..<64 where !hasRoom(bytes) {
            findsNoVictim = !evictOne()
            if findsNoVictim { return }
        }
    }

    // MARK: A full disk

    /// For a second no write has succeeded, whatever was tried: nobody waits for the next.
    private var refusesWrites: Bool { refusedSince != 0 && instant - refusedSince > 1_000_000_000 }

    /// A disk that had no room may have some now: asked once a second. So may one that refused all writes,
    /// if none is tried: then who comes waits for one again.
    private func retryFullDisk() {
        if refusesWrites, excess <= 0, requestsInFlight == 0 { refusedSince = 0 }
        guard log.isOutOfSpace else {
            outOfSpaceSince = 0
            return
        }
        if outOfSpaceSince == 0 { outOfSpaceSince = instant }
        if instant - outOfSpaceSince > 1_000_000_000 {
            log.isOutOfSpace = false
            outOfSpaceSince = 0
        }
    }

    /// When neither RAM nor SSD has room, policies other than noeviction forget the coldest.
    private func relieveFullDisk() {
        guard store.policy != .noEviction, excess > 0, isDiskFull else { return }
        for _ in 0..<16 { if !evictOne() { return } }
    }

    /// Deletes the coldest of a few keys next to the hand. False when the policy finds none.
    private func evictOne() -> Bool {
        guard store.policy != .noEviction, hand.stripe < store.options.stripes else { return false }
        let wanted = store.policy.volatileOnly ? Table.volatileBit : 0
        var best: (hash: UInt64, key: [UInt8], tables: Int, score: Int64)?
        var seen = 0
        sweep(&hand, buckets: 65536, wanted: wanted) { slot, _, database in
            let entry = self.entry(slot)
            let score = self.evictionScore(entry)
            if best == nil || score > best!.score {
                best = (self.hash(entry.key), entry.key.array, database, score)
            }
            seen += 1
            return seen < 16
        }
        guard let best else { return false }
        let stripe = stripes.number(of: best.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + best.tables
        return best.key.withView { key in
            guard let slot = table.pointee.find(best.hash, key, base: base) else { return false }
            report(.evicted, entry(slot).key, table)
            remove(slot, table)
            counters.evictedKeys += 1
            return true
        }
    }

    /// Higher goes first.
    private func evictionScore(_ entry: Entry) -> Int64 {
        switch store.policy {
        case .allKeysRandom, .volatileRandom: Int64(random.next() >> 33)
        case .volatileTTL: -(entry.expiry ?? .max)
        case .allKeysLFU, .volatileLFU: 255 - Int64(AccessClock.frequency(entry, now: now))
        case .allKeysLRU, .volatileLRU, .noEviction:
            Int64(AccessClock.idleSeconds(entry, now: accessSeconds)) << 2 | Int64(3 - entry.frequency)
        }
    }
}
