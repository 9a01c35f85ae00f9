import Primitives
import RESPFront
import RESPWire
import TieredStore

/// One life of a server that will crash: from its start to its end.
final class CrashLife {
    let files: SimulatedFiles
    private let store: Store
    private let server: ServerState
    private let front: Front
    private let session: Session
    private let directory: String
    private(set) var now: Int64
    private(set) var monotonic: UInt64
    private var received = ReplyParser()
    private var replies: [Reply] = []
    private var wanted = 0
    private(set) var problem: String?
    /// The server has ended itself.
    private(set) var hasEnded = false
    /// Changes that were run, with the commit each is in.
    private var run: [(change: Int, mark: UInt64)] = []
    private var running: Int?
    private(set) var durableChanges = 0
    private(set) var writtenChanges = 0

    /// `names`: files another life has left, in the file system.
    init(
        _ options: StoreOptions, _ directory: String, _ names: [String], failing: Int, now: Int64,
        _ monotonic: UInt64, _ random: inout Random
    ) {
        self.directory = directory
        self.now = now + 1000
        self.monotonic = monotonic
        files = SimulatedFiles(tier: "\(directory)/tier.log", failing: failing)
        files.adopt(names)
        let base = CrashLife.base(files, directory)
        var options = options
        options.tierIdentity = base?.head.identity ?? random.next() | 1
        guard let store = Store(options) else { fatalError("no address space") }
        self.store = store
        let configuration = Configuration()
        configuration.appendOnly = true
        configuration.appendDirectory = "\(directory)/appendonlydir"
        configuration.dbfilename = "\(directory)/dump.rdb"
        configuration.appendSync = CommitPolicy.allCases[Int(random.below(3))]
        server = ServerState(
            store: store, configuration: configuration, now: now, processID: 1, seed: options.seed,
            ticksPerMicrosecond: 1)
        front = server.fronts[0]
        session = front.open(descriptor: -1, peerAddress: "simulated", localAddress: "simulated")
        server.saver.directory = files
        server.fail = { [unowned self] why in
            hasEnded = true
            problem = problem ?? why
        }
        setTime()
        if let base { load(base: base.bytes) }
        if problem == nil { load(&random) }
    }

    /// The checkpoint that the append-only file begins with, if it does.
    private static func base(
        _ files: SimulatedFiles, _ directory: String
    ) -> (head: CheckpointHead, bytes: [UInt8])? {
        guard let text = files.contents("\(directory)/appendonlydir/appendonly.aof.manifest"),
            let name = (try? AOFManifest(text))?.checkpoint,
            let bytes = files.contents("\(directory)/appendonlydir/\(name)"),
            let head = try? CheckpointLoad.head(byteCount: bytes.count, read: CrashLife.read(bytes))
        else { return nil }
        return (head, bytes)
    }

    private static func read(_ bytes: [UInt8]) -> CheckpointLoad.Read {
        { target, count, offset in
            guard offset + count <= bytes.count else { return false }
            bytes.withUnsafeBytes { target.copyMemory(from: $0.baseAddress! + offset, byteCount: count) }
            return true
        }
    }

    private func load(base: [UInt8]) {
        server.replayClock = 1
        setTime()
        do throws(CheckpointError) {
            let load = try CheckpointLoad(store, byteCount: base.count, read: CrashLife.read(base))
            try load.begin(version: version)
            while load.hasMore {
                while store.ledger.used + CheckpointLoad.blockRAM / 4 > store.ledger.limit, !hasEnded {
                    monotonic += 20_000_000
                    setTime()
                    _ = front.worker.background()
                    files.carryOut(front.worker)
                    if front.worker.refuses(CheckpointLoad.blockRAM / 4) { break }
                }
                _ = load.takeBlocks(front.worker, isHurried: true)
            }
            try load.finish()
            store.log.keepsRetired = true
        } catch { problem = "the base cannot be used: \(error.text)" }
    }

    /// Of a segment, as its header in the tier file has it.
    private func version(_ segment: Int) -> UInt32? {
        let at = store.log.position(segment, 0), tier = files.tier
        guard at + SegmentHeader.size <= tier.count else { return nil }
        return tier[at..<(at + SegmentHeader.size)].withUnsafeBytes {
            SegmentHeader.decode($0.baseAddress!, segment: segment, identity: store.log.identity)
        }
    }

    private func setTime() {
        let replayed = server.replayClock
        front.worker.setTime(milliseconds: replayed == 0 ? now : replayed, nanoseconds: monotonic)
    }

    private func load(_ random: inout Random) {
        do throws(FileFailure) { try server.beginLoadingAppendOnly() } catch {
            problem = "does not start: \(error)"
            return
        }
        var turns = 0
        while server.busyness.isLoading, problem == nil {
            turn(&random)
            turns += 1
            if turns > 100_000 { problem = "loading does not end" }
        }
        if hasEnded { problem = "does not start: \(problem ?? "")" }
    }

    // MARK: Turns

    func step(_ random: inout Random) {
        if isQuiet { now += Int64(random.below(200)) }
        turn(&random)
        take()
        guard let log = server.appendOnly.log else { return }
        if let change = running, isQuiet {
            settle(change, log.mark)
            running = nil
        }
        for (change, mark) in run {
            if mark <= log.durable { durableChanges = max(durableChanges, change) }
            if mark <= log.written { writtenChanges = max(writtenChanges, change) }
        }
        run.removeAll { $0.mark <= log.durable }
    }

    /// The change's EXEC was answered.
    private func settle(_ change: Int, _ mark: UInt64) {
        guard let reply = replies.last, !reply.isError else { return refusal = .all }
        run.append((change, mark))
        guard let first = reply.members?.first, first.isError, let text = first.text else { return }
        if text.hasPrefix("OOM") || text.hasPrefix("IOERR") { refusal = .change }
    }

    private func turn(_ random: inout Random) {
        monotonic += 20_000_000
        setTime()
        if random.below(5) == 0 { server.appendOnly.cron() }
        _ = server.loadSlice()
        _ = front.worker.background()
        if random.below(8) == 0 { front.worker.expire(buckets: 64) }
        front.endTurn()
        server.appendOnly.pump()
        while let request = front.worker.takeRequest() { files.submit(request, &random) }
        files.advance(front.worker)
        front.resume()
        front.touched.removeAll(keepingCapacity: true)
    }

    private func take() {
        guard !session.output.isEmpty else { return }
        received.append(session.output.view)
        session.output.removeAll()
        front.outputDrained(session)
        while let reply = try? received.next() { replies.append(reply) }
    }

    // MARK: The client

    /// Everything asked was answered.
    var isQuiet: Bool { replies.count >= wanted }

    func send(_ requests: [[String]]) { send(bytes: requests.map { $0.map { Array($0.utf8) } }) }

    func send(bytes requests: [[[UInt8]]]) {
        replies = []
        wanted = requests.count
        for request in requests {
            var bytes = RequestWriter.bytes(request)
            bytes.withUnsafeMutableBytes { front.receive(session, $0.baseAddress!, $0.count) }
        }
    }

    /// What was sent last is the change of this number.
    func note(_ change: Int) { running = change }

    /// What there was no RAM for: the whole transaction, or the change alone.
    enum Refusal { case none, change, all }
    private var refusal = Refusal.none

    func takeRefusal() -> Refusal {
        defer { refusal = .none }
        return refusal
    }

    /// Asks for a bulk string, and waits for it.
    func ask(_ words: [String], _ random: inout Random) -> [UInt8]? {
        send([words])
        var turns = 0
        while !isQuiet, problem == nil {
            turn(&random)
            take()
            turns += 1
            if turns > 10_000 { problem = "\(words) is not answered" }
        }
        if case .bulk(let bytes)? = replies.first { return bytes }
        if let reply = replies.first, reply.isError { problem = problem ?? "\(words): \(reply.text ?? "")" }
        return nil
    }

    // MARK: Its end

    /// Whether writes are accepted again some time after a fault.
    func heals(_ random: inout Random) -> Bool {
        for _ in 0..<5000 where server.busyness.isUnwritable && !hasEnded {
            now += 20
            turn(&random)
            take()
        }
        return !server.busyness.isUnwritable || hasEnded
    }

    var rewrites: Int { server.appendOnly.rewriteCount }

    /// The names of the files that remain, in the file system.
    func crash(power: Bool, _ random: inout Random) -> [String] {
        files.crash(into: directory, power: power, &random)
        return files.names
    }

    func tearDown() { server.tearDown() }
}
