import Primitives
import Synchronization

/// Taking over the segments of a tier file that is not empty, before anything is written to it.
///
/// While it is filled in, a segment is `compacting`: nobody else looks at it. `settleRecovered` seals those
/// that hold something and frees the rest.
extension SegmentLog {
    /// A segment holds records, as a checkpoint or a scan says. The world has not begun.
    func recover(_ segment: Int, _ row: Superblock.SegmentRow) {
        precondition(segment < segmentCount, "a segment beyond the tier file")
        if segments[segment].state == .free { inUseWord.add(1, ordering: .relaxed) }
        segments[segment].state = .compacting
        segments[segment].version = row.version
        segments[segment].used = row.used
        segments[segment].filled = row.filled
        segments[segment].prepared = row.isPrepared
        raiseHighWater(segment)
    }

    /// A segment is not in use; its next version must be a higher one than any it had.
    func recoverVersion(_ segment: Int, _ version: UInt32, isPrepared: Bool = false) {
        guard segment < segmentCount else { return }
        segments[segment].version = max(segments[segment].version, version)
        if isPrepared { segments[segment].prepared = true }
        if version > 0 { raiseHighWater(segment) }
    }

    private func raiseHighWater(_ segment: Int) {
        if segment >= usedHighWater.load(ordering: .relaxed) {
            usedHighWater.store(segment + 1, ordering: .relaxed)
        }
    }

    /// Records to come get higher numbers than this.
    public func raiseSequence(to highest: UInt64) {
        let next = nextSequence.load(ordering: .relaxed)
        nextSequence.store(max(next, highest &+ 1), ordering: .relaxed)
    }

    /// The highest number a record has.
    public var lastSequence: UInt64 { nextSequence.load(ordering: .relaxed) - 1 }

    /// Records of a recovered segment are alive.
    func addLive(_ segment: Int, _ bytes: Int) {
        segments[segment].liveBytes.add(bytes, ordering: .relaxed)
    }

    /// Segments that are not recovered may be opened, and no others.
    func listFree() {
        lock.lock()
        defer { lock.unlock() }
        free = (0..<usableCount).reversed().filter { segments[$0].state == .free }
        freeCountWord.store(free.count, ordering: .relaxed)
    }

    /// All that is alive has been counted: segments are sealed, or free if nothing in them is.
    func settleRecovered() {
        listFree()
        lock.lock()
        for segment in 0..<segmentCount where segments[segment].state == .compacting {
            segments[segment].state = .sealed
            // What was not counted when the segment was still open: at least what is alive.
            let live = segments[segment].liveBytes.load(ordering: .relaxed)
            segments[segment].filled = max(segments[segment].filled, live)
        }
        lock.unlock()
        for segment in (0..<segmentCount).reversed() { freeIfEmpty(segment) }
    }

    /// Nothing of what was recovered is wanted: all segments are free, their versions stay.
    func forgetRecovered() {
        lock.lock()
        for segment in 0..<segmentCount where segments[segment].state == .compacting {
            segments[segment].liveBytes.store(0, ordering: .relaxed)
            segments[segment].state = .sealed
        }
        lock.unlock()
        settleRecovered()
    }
}
