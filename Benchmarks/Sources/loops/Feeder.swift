import Dispatch
import Primitives
import RESPFront
import TieredStore

/// One loop's client: requests written ahead in memory, handed to the front batch by batch.
/// Used by one thread at a time.
final class Feeder: @unchecked Sendable {
    private let front: Front
    private let session: Session
    private let plan: Loops
    private var random: Random
    private var batches: [[UInt8]] = []
    private(set) var answered = 0

    init(_ front: Front, _ plan: Loops, seed: UInt64) {
        self.front = front
        self.plan = plan
        random = Random(seed: seed)
        session = front.open(descriptor: -1, peerAddress: "memory", localAddress: "memory")
        batches = (0..<4096).map { _ in batch() }
    }

    private static func key(_ number: Int) -> String {
        let digits = String(number)
        return "key:" + String(repeating: "0", count: 12 - digits.count) + digits
    }

    private func request(_ words: [String]) -> String {
        "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
    }

    private func batch() -> [UInt8] {
        let value = String(repeating: "v", count: plan.dataSize)
        return Array((0..<plan.pipeline).map { _ in
            let key = Feeder.key(Int(random.below(UInt64(plan.keys))))
            return random.fraction() < plan.sets ? request(["SET", key, value]) : request(["GET", key])
        }.joined().utf8)
    }

    /// Stores every key once.
    func fill() {
        let value = String(repeating: "v", count: plan.dataSize)
        for number in 0..<plan.keys { run(Array(request(["SET", Feeder.key(number), value]).utf8)) }
        answered = 0
    }

    private func run(_ bytes: [UInt8]) {
        var bytes = bytes
        bytes.withUnsafeMutableBytes { front.receive(session, $0.baseAddress!, $0.count) }
        session.output.removeAll()
    }

    /// Runs batches until the uptime in nanoseconds is past.
    func work(until end: UInt64) {
        var at = 0
        while at & 255 != 0 || DispatchTime.now().uptimeNanoseconds < end {
            run(batches[at & 4095])
            answered += plan.pipeline
            at += 1
            if at & 15 == 0 {
                front.worker.setTime(milliseconds: 1_800_000_000_000, nanoseconds: UInt64(at) * 1000)
                _ = front.worker.background()
            }
        }
    }
}
