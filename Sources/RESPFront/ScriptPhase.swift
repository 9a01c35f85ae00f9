import Synchronization

/// Whether a loop runs a script, seen from the others: SCRIPT KILL.
final class ScriptPhase: Sendable {
    enum Phase: UInt8 {
        case idle, running
        /// It has written: it cannot be ended without leaving half of its work.
        case written
        case toBeEnded
    }

    private let value = Atomic<UInt8>(0)

    var phase: Phase { Phase(rawValue: value.load(ordering: .acquiring))! }

    func set(_ phase: Phase) { value.store(phase.rawValue, ordering: .releasing) }

    /// The script writes; false when it is to end instead.
    func write() -> Bool {
        let before = value.compareExchange(
            expected: Phase.running.rawValue, desired: Phase.written.rawValue,
            ordering: .acquiringAndReleasing).original
        return before != Phase.toBeEnded.rawValue
    }

    /// Asks a script that has not written to end; whether there was one.
    func end() -> Bool {
        value.compareExchange(
            expected: Phase.running.rawValue, desired: Phase.toBeEnded.rawValue,
            ordering: .acquiringAndReleasing).exchanged
    }
}
