import Glibc
import Primitives
import RESPFront
import RESPWire
import TieredStore

/// A server that crashes, again and again, and what must be there afterwards.
///
/// One client runs transactions: a change, and the number of the change. A crash ends a life at any moment:
/// the process alone, or the power, when each sector that was not made durable is kept or not. The next life
/// loads what remains. It must have all changes up to some number, none of those after it, and at least
/// those that had been durable (after a loss of power) or written (after a kill).
public final class CrashWorld {
    /// What came of a run.
    public struct Report: Sendable, Equatable {
        public var seed: UInt64
        public var lives = 0
        public var changes = 0
        /// Changes that were lost as they may be.
        public var lost = 0
        /// Changes there was no RAM for.
        public var refused = 0
        public var rewrites = 0
        /// Disk requests of the first life.
        public var requests = 0
        public var problem: String?
    }

    private var random: Random
    private let directory: String
    private var report: Report
    private let hashSeed: UInt64
    private let options: StoreOptions
    private var now: Int64 = 1_800_000_000_000
    private var monotonic: UInt64 = 1_000_000_000
    /// Every change so far, and the time it saw; no words: there was no RAM for it.
    private var changes: [(words: [[UInt8]], at: Int64)] = []
    private let keys: UInt64
    private let sizeLimit: UInt64
    /// The disk request of the first life that fails; 0: none.
    private let failing: Int
    private var names: [String] = []

    public init(seed: UInt64, failing: Int = 0) {
        random = Random(seed: seed)
        report = Report(seed: seed)
        self.failing = failing
        var options = StoreOptions.tiny
        options.seed = random.next()
        hashSeed = random.next()
        options.hashSeed = hashSeed
        options.memoryLimit = Int(1024 + random.below(2048)) << 10
        options.tierCapacity = Int(32 + random.below(100)) * options.segmentSize
        self.options = options
        keys = 4 + random.below(100)
        sizeLimit = 2 + random.below(30000)
        var template = Array("/tmp/tiersim-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil, "no temporary directory")
        directory = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        mkdir("\(directory)/appendonlydir", 0o755)
    }

    deinit {
        for name in names { unlink(name) }
        rmdir("\(directory)/appendonlydir")
        rmdir(directory)
    }

    /// Lives so many lives.
    public func run(lives: Int, steps: Int) -> Report {
        for number in 0..<lives where report.problem == nil {
            let life = CrashLife(
                options, directory, names, failing: number == 0 ? failing : 0, now: now, monotonic, &random)
            if number > 0 || report.problem != nil { check(life) }
            if report.problem == nil { live(life, steps: steps / 2 + Int(random.below(UInt64(steps)))) }
            if number == 0, failing > 0, report.problem == nil, !life.hasEnded {
                if !life.heals(&random) { report.problem = "writes are refused for ever" }
                live(life, steps: steps)
            }
            now = life.now
            monotonic = life.monotonic
            if number == 0 { report.requests = life.files.requests }
            takeRefusal(life)
            let isPower = random.below(3) != 0
            kept = isPower ? life.durableChanges : life.writtenChanges
            names = life.crash(power: isPower, &random)
            report.lives += 1
            report.rewrites += life.rewrites
            life.tearDown()
        }
        report.changes = changes.count
        return report
    }
    /// Changes the next life must have.
    private var kept = 0

    private func live(_ life: CrashLife, steps: Int) {
        for _ in 0..<steps where report.problem == nil && life.problem == nil {
            if life.isQuiet {
                takeRefusal(life)
                now = life.now
                if random.below(2) == 0 { change(life) }
            }
            life.step(&random)
        }
        // A life that a fault has ended is a crash like any other.
        if let problem = life.problem, !life.hasEnded { report.problem = problem }
    }

    private func takeRefusal(_ life: CrashLife) {
        switch life.takeRefusal() {
        case .none: return
        case .change: changes[changes.count - 1].words = []
        case .all: changes.removeLast()
        }
        report.refused += 1
    }

    private func change(_ life: CrashLife) {
        if random.below(40) == 0 { return life.send([["BGREWRITEAOF"]]) }
        if random.below(60) == 0 {
            let policy = ["always", "everysec", "no"][Int(random.below(3))]
            return life.send([["CONFIG", "SET", "appendfsync", policy]])
        }
        if random.below(10) == 0 {
            let words = ["TIER", "DEMOTE"].map { Array($0.utf8) }
            return life.send(bytes: [words + [key(), key()]])
        }
        let words = request()
        changes.append((words, life.now))
        let number = ["SET", "changes", String(changes.count)].map { Array($0.utf8) }
        life.send(bytes: [[Array("MULTI".utf8)], words, number, [Array("EXEC".utf8)]])
        life.note(changes.count)
    }

    private func key() -> [UInt8] { Array("k\(random.below(keys))".utf8) }

    private func value() -> [UInt8] {
        let size = random.below(8) == 0 ? random.below(sizeLimit) : random.below(600)
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: Int(size))
        if random.below(2) == 0 {
            for i in bytes.indices { bytes[i] = UInt8(truncatingIfNeeded: random.next()) }
        }
        return bytes
    }

    private func request() -> [[UInt8]] {
        func word(_ text: String) -> [UInt8] { Array(text.utf8) }
        switch random.below(10) {
        case 0..<5: return [word("SET"), key(), value()]
        case 5:
            let time = now + 1 + Int64(random.below(2000))
            return [word("SET"), key(), value(), word("PXAT"), word(String(time))]
        case 6: return [word("DEL"), key(), key()]
        case 7: return [word("APPEND"), key(), value()]
        case 8: return [word("RENAME"), key(), key()]
        default: return [word("SETRANGE"), key(), word(String(random.below(1000))), value()]
        }
    }

    // MARK: After a crash

    /// Compares what was loaded with what some number of changes makes.
    private func check(_ life: CrashLife) {
        if let problem = life.problem { return report.problem = problem }
        let found = life.ask(["GET", "changes"], &random)
        let count = found.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
        guard count >= kept, count <= changes.count else {
            return report.problem = """
                life \(report.lives): \(count) changes are there, of \(changes.count), \(kept) were safe
                """
        }
        report.lost += changes.count - count
        changes.removeLast(changes.count - count)
        var model = Model()
        for change in changes where !change.words.isEmpty {
            _ = model.reply(to: change.words, now: change.at)
        }
        for i in 0..<keys {
            let name = "k\(i)", got = life.ask(["GET", name], &random)
            if let problem = life.problem {
                return report.problem = "life \(report.lives): \(problem)"
            }
            let wanted = model.reply(to: [Array("GET".utf8), Array(name.utf8)], now: life.now)!
            if Model.bulk(got) != wanted {
                let shown = (got ?? []).count
                return report.problem = """
                    life \(report.lives): after \(count) changes \(name) has \(shown) bytes that are not \
                    those of the model: \(String(decoding: wanted.prefix(20), as: UTF8.self))
                    """
            }
        }
    }
}
