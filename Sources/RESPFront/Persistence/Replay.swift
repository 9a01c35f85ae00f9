import Primitives
import RESPWire
import TieredStore

/// Runs recorded commands again, as a client of their own that sees the time they saw.
///
/// Shape of what it is fed: requests as clients send them, and lines that begin with `#`: with a number,
/// Unix milliseconds of what follows; with anything else, a remark (Redis 7.0 `#TS:`).
final class Replay {
    /// Why it cannot go on; `offset`: bytes of what was fed that are done with.
    enum Failure: Error { case malformed(offset: Int), outOfMemory }

    private unowned let front: Front
    let session: Session
    private var parser = RequestParser(limits: Dispatcher.unlimited)
    private var words = WordList(capacity: 64)
    /// Fed and not yet run.
    private var input = InputBuffer()
    /// Unix milliseconds.
    private(set) var clock: Int64 = 0
    private let refusedBefore: UInt64
    /// Bytes done with, of all that was fed.
    private(set) var offset = 0
    /// The same at the last moment no transaction was open.
    private(set) var wholeOffset = 0
    private(set) var commands = 0

    init(_ front: Front) {
        self.front = front
        session = Session(
            id: 0, descriptor: -1, peerAddress: "", localAddress: "", now: 0, isAuthenticated: true,
            limits: Dispatcher.unlimited)
        session.token = Front.replayToken
        refusedBefore = front.errorCounts["OOM", default: 0]
        front.replay = session
    }

    func end() { front.replay = nil }

    /// Everything fed was run.
    var isDone: Bool { input.isEmpty && session.wait == .none && session.input.isEmpty }
    var isInTransaction: Bool { session.modes.contains(.inTransaction) }

    func feed(_ bytes: ByteView) { input.append(bytes) }

    /// Another file begins.
    func beginFile() { session.database = 0 }

    /// What is left will not become whole: a torn end.
    func forget() {
        input = InputBuffer()
        front.endTransaction(session)
        session.input = InputBuffer()
    }

    /// Runs on; true when everything whole that was fed was run, false while it waits for a read or for
    /// RAM.
    func run() throws(Failure) -> Bool {
        while true {
            guard try goOn() else { return false }
            if session.input.isEmpty, !isInTransaction { wholeOffset = offset }
            if input.isEmpty { return true }
            if input.bytes.load(as: UInt8.self) == UInt8(ascii: "#") {
                guard takeLine() else { return true }
                continue
            }
            let count = try batch()
            if count == 0 { return true }
            setTime()
            front.receive(session, input.bytes, count)
            input.consume(count)
            offset += count
        }
    }

    /// Goes on with what waits; false if it waits still.
    private func goOn() throws(Failure) -> Bool {
        setTime()
        while session.wait != .none || !session.input.isEmpty {
            if session.wait == .keys { front.cancelWait(session) }
            let isFree = session.wait == .none || session.wait == .keys || front.replayIsRunnable
            guard isFree else { return false }
            front.replayIsRunnable = false
            front.goOnReplaying()
            if front.errorCounts["OOM", default: 0] > refusedBefore { throw .outOfMemory }
            session.output.removeAll()
        }
        if front.errorCounts["OOM", default: 0] > refusedBefore { throw .outOfMemory }
        session.output.removeAll()
        return true
    }

    private func setTime() {
        front.worker.setTime(milliseconds: clock, nanoseconds: front.worker.instant)
    }

    private func takeLine() -> Bool {
        let bytes = ByteView(input.bytes, input.count)
        guard let end = (0..<min(bytes.count, 128)).first(where: { bytes[$0] == 10 }) else { return false }
        let text = bytes[1..<max(1, end > 1 && bytes[end - 1] == 13 ? end - 1 : end)]
        if let time = Decimal.int64(text) {
            clock = time
            front.server.replayClock = time
        }
        input.consume(end + 1)
        offset += end + 1
        return true
    }

    /// Bytes of whole requests at the beginning of the input, up to the next line. A transaction begins a
    /// batch and ends one: a torn one is cut off from what was whole before it.
    private func batch() throws(Failure) -> Int {
        var at = 0
        words.removeAll()
        parser.reset()
        while at < min(input.count, 64 << 10) {
            let first = input.bytes.load(fromByteOffset: at, as: UInt8.self)
            if first == UInt8(ascii: "#") { break }
            guard first == UInt8(ascii: "*") else { throw .malformed(offset: offset + at) }
            guard case .request(let word, let count, let end) =
                parser.parse(input.bytes, count: input.count, from: at, into: &words)
            else {
                if case .failure = parser.parse(input.bytes, count: input.count, from: at, into: &words) {
                    throw .malformed(offset: offset + at)
                }
                break
            }
            let name = words.arguments(input.bytes, first: word, count: count)
            if at > 0, count == 1, name[0].matches("multi") { break }
            at = end
            commands += 1
            if count == 1, name[0].matches("exec") { break }
        }
        return at
    }
}
