import Primitives
import Synchronization

/// Segments that are empty and yet kept, because the last checkpoint refers to records in them.
///
/// Whoever owns the checkpoint calls `beginCheckpoint` when one is begun and `checkpointIsDurable` when it
/// has taken the place of the one before. What was empty when it was begun, no key of it refers to.
extension SegmentLog {
    /// Whether segments are retired before they are freed. Turning it off frees those that are.
    public var keepsRetired: Bool {
        get {
            lock.lock()
            defer { lock.unlock() }
            return keeps
        }
        set {
            lock.lock()
            keeps = newValue
            if !newValue { releaseRetired(before: .max) }
            lock.unlock()
        }
    }

    /// Segments kept for the last checkpoint alone.
    public var retiredCount: Int { retiredCountWord.load(ordering: .relaxed) }

    /// Free segments run low while others are only kept: a checkpoint would give them back.
    public var wantsCheckpoint: Bool {
        retiredCount > 0 && freeCount <= reserve + max(2, usableCount / 8)
    }

    /// A checkpoint begins; its number. The world stands still.
    public func beginCheckpoint() -> Int {
        lock.lock()
        defer { lock.unlock() }
        checkpoints += 1
        return checkpoints
    }

    /// The checkpoint of this number has taken the place of the one before.
    public func checkpointIsDurable(_ number: Int) {
        lock.lock()
        releaseRetired(before: number)
        lock.unlock()
    }

    /// The caller holds the lock.
    func retire(_ segment: Int) {
        segments[segment].state = .retired
        segments[segment].retiredAt = checkpoints
        retiredCountWord.add(1, ordering: .relaxed)
    }

    private func releaseRetired(before number: Int) {
        guard retiredCount > 0 else { return }
        for segment in 0..<usedHighWater.load(ordering: .relaxed)
        where segments[segment].state == .retired && segments[segment].retiredAt < number {
            retiredCountWord.subtract(1, ordering: .relaxed)
            release(segment)
        }
    }
}
