import CEpoll
import Glibc
import Synchronization

/// A bar on standard error while a run goes on, if a person looks.
final class Progress: Sendable {
    private let counts: [Counter]
    private let plan: Plan
    private let startedAt: UInt64
    private let nextDrawing: Atomic<UInt64>
    private let isShown: Bool

    private final class Counter: Sendable { let value = Atomic(0) }

    init(_ plan: Plan, startedAt: UInt64, isShown: Bool) {
        self.plan = plan
        self.startedAt = startedAt
        self.isShown = isShown && isatty(2) == 1
        counts = (0..<plan.threads).map { _ in Counter() }
        nextDrawing = Atomic(startedAt)
    }

    func answered(_ thread: Int, _ count: Int) {
        guard isShown else { return }
        counts[thread].value.store(count, ordering: .relaxed)
        if thread == 0 { draw() }
    }

    private func draw() {
        let now = tierload_now()
        guard now >= nextDrawing.load(ordering: .relaxed) else { return }
        nextDrawing.store(now + 100_000_000, ordering: .relaxed)
        let done = counts.reduce(0) { $0 + $1.value.load(ordering: .relaxed) }
        let seconds = max(1e-9, Double(now - startedAt) / 1e9)
        let share = min(
            1, plan.seconds > 0 ? seconds / plan.seconds : Double(done) / Double(max(1, plan.requests)))
        let full = Int(share * 30), left = share > 0.01 ? seconds / share - seconds : 0
        let bar = String(repeating: "█", count: full) + String(repeating: "░", count: 30 - full)
        let rate = Int(Double(done) / seconds)
        write("\r\(bar) \(Int(share * 100)) %  \(rate) requests/s  \(Int(left)) s left\u{1B}[K")
    }

    func end() {
        if isShown { write("\r\u{1B}[K") }
    }

    private func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = Glibc.write(2, bytes, bytes.count)
    }
}
