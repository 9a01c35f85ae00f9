import Primitives
import RESPFront
import RESPWire
import TieredStore

/// A server without sockets or threads: one session, a clock that moves by the turn, a disk in memory.
final class Workbench {
    /// Requests in flight: those of one batch.
    static let depth = 16

    let store: Store
    let front: Front
    var worker: StoreWorker { front.worker }
    private let server: ServerState
    private let session: Session
    private let disk: MemoryDisk
    private var turns = 0

    init(memory: Int = 64 << 20, _ adapt: (inout StoreOptions) -> Void = { _ in }) {
        var options = StoreOptions()
        options.databases = 1
        options.stripes = 64
        options.memoryLimit = memory
        options.addressSpace = 4 << 30
        options.pageSize = 16 << 10
        options.segmentSize = 1 << 20
        options.tierCapacity = 64 << 20
        options.writeBufferSize = 64 << 10
        adapt(&options)
        let configuration = Configuration()
        // A command that seems slow, on a machine that emulates another, is none.
        configuration.slowlogLogSlowerThan = -1
        guard let store = Store(options) else { fatalError("no address space") }
        self.store = store
        server = ServerState(
            store: store, configuration: configuration, now: 1_800_000_000_000, processID: 1, seed: 1,
            ticksPerMicrosecond: 2000)
        front = server.fronts[0]
        session = front.open(descriptor: -1, peerAddress: "memory", localAddress: "memory")
        disk = MemoryDisk(byteCount: store.log.headerSize + options.tierCapacity)
        turn()
    }

    deinit { server.tearDown() }

    /// Begins to record changes in an append-only file in memory.
    func record() {
        let files = MemoryDirectory(disk)
        server.saver.directory = files
        server.configuration.appendOnly = true
        do throws(FileFailure) { try server.beginAppending() } catch { fatalError("\(error)") }
        precondition(server.appendOnly.isKept, "nothing is recorded")
    }

    /// Runs one batch, and what it leads to, until all of it is answered. Returns the replies.
    @discardableResult
    func run(_ batch: Batch) -> ByteView {
        session.output.removeAll()
        front.receive(session, batch.bytes, batch.count)
        repeat { turn() } while session.wait != .none || session.queuedInput > 0
        return session.output.view
    }

    /// Runs `count` requests of the tape from where it is.
    func run(_ tape: Tape, _ count: Int) {
        let before = session.commandsRun
        for _ in 0..<(count / tape.requestsPerBatch) { run(tape.next()) }
        precondition(
            session.commandsRun - before >= UInt64(count / tape.requestsPerBatch), "requests were not run")
        precondition(front.errorCounts.isEmpty, "answered with errors: \(front.errorCounts)")
    }

    /// Runs requests as they are written, one after another; for what comes before the work.
    func run(_ requests: [Request]) {
        let tape = Tape(requests)
        run(tape, requests.count)
    }

    /// One pass of a loop that has nothing new to receive.
    func turn() {
        turns += 1
        worker.setTime(
            milliseconds: 1_800_000_000_000 + Int64(turns / 1000), nanoseconds: UInt64(turns) * 20_000)
        server.appendOnly.pump()
        _ = worker.background()
        disk.serve(worker)
        front.resume()
        front.touched.removeAll(keepingCapacity: true)
    }
}

/// The words of a request.
typealias Request = [[UInt8]]

func request(_ words: String...) -> Request { words.map { Array($0.utf8) } }

/// A batch of requests as a client sends them.
struct Batch {
    let bytes: UnsafeMutableRawPointer
    let count: Int
}

/// Requests written ahead, that come round again when all have been run.
final class Tape {
    let requestsPerBatch: Int
    private var batches: [Batch] = []
    private var at = 0

    init(_ requests: [Request]) {
        requestsPerBatch = min(Workbench.depth, requests.count)
        precondition(requests.count % requestsPerBatch == 0, "whole batches")
        for start in stride(from: 0, to: requests.count, by: requestsPerBatch) {
            batches.append(Tape.batch(requests[start..<(start + requestsPerBatch)]))
        }
    }

    /// Commands that are sent together, and count as `requestsEach`.
    init(groups: [[Request]], requestsEach: Int) {
        requestsPerBatch = requestsEach
        batches = groups.map { Tape.batch($0[...]) }
    }

    deinit { for batch in batches { batch.bytes.deallocate() } }

    private static func batch(_ requests: ArraySlice<Request>) -> Batch {
        let bytes = requests.flatMap { RequestWriter.bytes($0) }
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 64)
        bytes.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        return Batch(bytes: memory, count: bytes.count)
    }

    func next() -> Batch {
        let batch = batches[at]
        at = at + 1 == batches.count ? 0 : at + 1
        return batch
    }
}
