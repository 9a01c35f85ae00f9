/// Who stays in RAM: a few bits an entry, no list, no pointer written on a hit.
///
/// A new or newly promoted value is on probation; an access after its admission moves it to the
/// protected set at the next visit of the hand. Protected values are aged by the hand.
/// Source: the small and main queues of S3-FIFO (Yang et al., SOSP '23) on a clock hand that sweeps
/// the index; demoted entries keep their epoch and serve as the ghost.
enum Hotness {
    /// A hit: counts to 3.
    @inline(__always)
    static func accessed(_ entry: Entry, epoch: UInt8) {
        let flags = entry.flags
        if flags & (3 << Entry.frequencyShift) != 3 << Entry.frequencyShift {
            entry.flags = flags &+ 1 << Entry.frequencyShift
        }
    }

    /// A value enters RAM: new, overwritten after demotion, or promoted.
    static func admitted(_ entry: Entry, epoch: UInt8, wasDemotedAt: UInt8?) {
        entry.frequency = 0
        entry.epoch = epoch
        let age = wasDemotedAt.map { epoch &- $0 }
        entry.set(Entry.probation, age.map { $0 > 16 } ?? true)
    }

    /// The hand passes: true when the value is to leave RAM.
    static func isCold(_ entry: Entry, epoch: UInt8) -> Bool {
        let frequency = entry.frequency
        if entry.has(Entry.probation) {
            if frequency == 0 { return true }
            entry.set(Entry.probation, false)
            entry.frequency = frequency - 1
            return false
        }
        if frequency == 0 { return true }
        entry.frequency = frequency - 1
        return false
    }
}
