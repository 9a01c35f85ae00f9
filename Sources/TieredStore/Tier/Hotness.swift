/// Who stays in RAM: a few bits an entry, no list, no pointer written on a hit.
///
/// Every entry carries the epoch of its last use; an epoch is 1/32 of RAM's values replaced. The
/// demotion hand sweeps the index, which is no order at all, and takes those whose age is past a
/// threshold; the threshold follows from how many of the values it passes should leave. A value
/// used more than once is given more time, one on probation less, so that a scan pushes out only
/// what else was used once.
/// Source: CLOCK with time stamps for the age; the small and main queues and the ghost of S3-FIFO
/// (Yang et al., SOSP '23) for probation: a demoted entry keeps its epoch and is its own ghost.
struct Hotness {
    /// Age in epochs from which a value used once since its admission leaves.
    private(set) var threshold = 32
    /// Values looked at and found cold since the threshold was last adjusted.
    private var looked = 0
    private var cold = 0

    /// A use: counted up to 3, and dated.
    @inline(__always)
    static func accessed(_ entry: Entry, epoch: UInt8) {
        let flags = entry.flags
        let stamped = flags & ~(0xff << Entry.epochShift) | UInt32(epoch) << Entry.epochShift
        let full: UInt32 = 3 << Entry.frequencyShift
        entry.flags = flags & full == full ? stamped : stamped &+ 1 << Entry.frequencyShift
    }

    /// A value enters RAM: new, or promoted. `left`: the epoch in which it had been demoted.
    static func admitted(_ entry: Entry, epoch: UInt8, left: UInt8?) {
        entry.frequency = 0
        entry.epoch = epoch
        entry.set(Entry.probation, left.map { epoch &- $0 > ghostAge } ?? true)
    }

    /// Demoted for longer than this, a value starts again as one never seen.
    private static let ghostAge: UInt8 = 32

    /// The hand passes: true when the value is to leave RAM.
    mutating func isCold(_ entry: Entry, epoch: UInt8) -> Bool {
        looked += 1
        let age = Int(epoch &- entry.epoch), frequency = Int(entry.frequency)
        let isUnproven = entry.has(Entry.probation) && frequency == 0
        guard age >= (isUnproven ? threshold / 8 : threshold * (1 + frequency)) else { return false }
        cold += 1
        return true
    }

    /// Keeps about one value in six leaving: fewer, and the hand runs in vain; more, and it takes
    /// what is not the oldest.
    mutating func adjust() {
        guard looked >= 32 else { return }
        if cold * 3 > looked {
            threshold = min(Hotness.longest, threshold + 1 + threshold / 4)
        } else if cold * 6 > looked {
            threshold = min(Hotness.longest, threshold + 1)
        } else if cold * 6 < looked {
            threshold = max(0, threshold - 1)
        }
        looked = 0
        cold = 0
    }

    /// Four times this still fits into an entry's eight bits of epoch.
    private static let longest = 60

    /// The hand came round and found nothing.
    mutating func relent() { threshold /= 2 }
}
