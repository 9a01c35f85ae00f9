import CSystem
import Primitives
import RESPWire
import Synchronization
import TieredStore

/// One loop's part of the RESP front: its sessions, its command rows, its dispatcher.
///
/// Bytes go in with `receive`, replies come out in `session.output`. When a session has to wait
/// (for a cold read, for RAM, for CLIENT PAUSE, for its client to read replies) it keeps its bytes
/// and `resume` runs it again; other sessions go on meanwhile.
public final class Front {
    public let server: ServerState
    public let worker: StoreWorker
    public let index: Int
    public let table: CommandTable
    /// By token.
    public private(set) var sessions: [Session?] = []
    private var freeTokens: [UInt32] = []
    public private(set) var sessionCount = 0
    /// Sessions with new replies, or that changed otherwise, since the connection side last looked.
    public var touched: [UInt32] = []
    var pausedSessions: [UInt32] = []
    private var woken: [UInt32] = []
    public let keys: StagedKeys
    lazy var scripts = ScriptRunner(self)
    let scriptPhase = ScriptPhase()
    /// Waits until one of the loop's disk requests has ended; false if it cannot. For scripts.
    public var finishReads: () -> Bool = { false }
    /// Lets the loop look after its sockets in the middle of a request. Calls `keep` and `answerWhileBusy`.
    public var serveWhileBusy: () -> Void = {}
    var busyDesk: BusyDesk?
    /// Sessions with requests that could not be run when they came.
    var unfinished: [UInt32] = []
    let call: Call
    /// The server's, which outlives its fronts.
    unowned(unsafe) let audience: Audience
    unowned(unsafe) let busyness: Busyness
    /// Keys of a command that runs inside another, while they are found.
    var positions: [Command.KeyPosition] = []
    var dispatcher = Dispatcher()
    /// Tells the loop that owns this front that there is mail. Set once, before loops run.
    public var wake: () -> Void = {}
    let mailbox = FrontMailbox()
    /// The session whose requests are being run.
    var runningToken = UInt32.max
    var subscribers = Subscribers()
    /// What the running request publishes: its number, and where its own client gets it in its output.
    var ownPublication: (number: UInt64, place: Int)?
    var monitors: [UInt32] = []
    let monitorCount = SharedCount()
    /// Keys changed in this turn that match a broadcast prefix, and by whom.
    var broadcasts: [[UInt8]: [[UInt8]: ClientAddress?]] = [:]
    var trackingHand: UInt32 = 0
    /// Changed by the running command, and waited for.
    var readyKeys: [ReadyKey] = []
    let servingReply = ReplyBuffer(capacity: 1024)
    var deadlines = DeadlineQueue()
    var retries: [Waiter] = []
    var leaveQueues: [Waiter] = []
    /// Sessions whose wait has ended and that have not gone on yet.
    var answered: [UInt32] = []
    /// Lookups that found nothing, at the last command.
    var missesBefore: UInt64 = 0
    /// Queued by the running command.
    var notifications: [KeyNotification] = []
    /// Where changes are recorded, while there is an append-only file.
    var commitLog: CommitLog?
    var isRecording: Bool { commitLog != nil }
    /// `keys.changes` at the last record.
    var recordedChanges: UInt64 = 0
    var recordGroup = RecordGroup()
    /// Errors answered, by code, as in INFO errorstats.
    public internal(set) var errorCounts: [String: UInt64] = [:]
    public internal(set) var commandsProcessed: UInt64 = 0
    public internal(set) var inputBytes: UInt64 = 0
    public var outputBytes: UInt64 = 0

    public init(server: ServerState, worker: StoreWorker, extraRows: [Command] = []) {
        table = CommandTable(extra: extraRows)
        self.server = server
        self.worker = worker
        index = worker.index
        audience = server.audience
        busyness = server.busyness
        keys = StagedKeys(worker)
        call = Call(
            worker: worker, server: server, keys: keys, command: table.rows[0],
            arguments: Arguments(ByteView.empty.base, dispatcher.noWords, 0), replies: servingReply)
        worker.onKeyChange = { [unowned self] in keyChangedItself($0, $1, $2, $3) }
    }

    // MARK: Sessions

    /// A client has connected.
    public func open(descriptor: Int32, peerAddress: String, localAddress: String) -> Session {
        let configuration = server.configuration
        let session = Session(
            id: server.nextClientID(), descriptor: descriptor, peerAddress: peerAddress,
            localAddress: localAddress, now: worker.now,
            isAuthenticated: configuration.requirepass.isEmpty, limits: configuration.requestLimits)
        if let token = freeTokens.popLast() {
            session.token = token
            sessions[Int(token)] = session
        } else {
            session.token = UInt32(sessions.count)
            sessions.append(session)
        }
        sessionCount += 1
        return session
    }

    /// A client is gone. What it was waiting for is released; its token stays taken until
    /// `forget`.
    public func close(_ session: Session) {
        for (record, _) in session.staged { worker.unstage(record) }
        session.staged.removeAll()
        leave(session)
        sessions[Int(session.token)] = nil
        sessionCount -= 1
    }

    /// Nothing carries the closed session's token any more.
    public func forget(_ session: Session) { freeTokens.append(session.token) }

    /// CLIENT PAUSE holds clients up.
    public var isPaused: Bool { server.isPaused && worker.now < server.pauseEnd }
    public var pauseHasEnded: Bool { !pausedSessions.isEmpty && !isPaused }

    public func session(_ token: UInt32) -> Session? {
        Int(token) < sessions.count ? sessions[Int(token)] : token == Front.replayToken ? replay : nil
    }

    /// Token of the session recorded commands are run in.
    static let replayToken = UInt32.max - 1
    /// It, while there is one: it is no client, and only `Replay` lets it go on.
    var replay: Session?
    var replayIsRunnable = false

    func goOnReplaying() {
        guard let replay else { return }
        replay.wait = .none
        runInput(replay)
    }

    /// Bytes held for clients, their staged values and scripts, refreshed now and then by the loop that owns
    /// this front.
    public var clientBytes: Int { clientBytesWord.load(ordering: .relaxed) }
    private let clientBytesWord = Atomic<Int>(0)

    public func countClientBytes() {
        scripts.refreshLimit()
        var bytes = sessions.reduce(worker.stagingBytes) { $0 + ($1?.memory ?? 0) }
        bytes += scripts.scriptMemory + scripts.functionMemory
        if index == 0 { bytes += server.scripts.bytes + server.libraries.bytes }
        clientBytesWord.store(bytes, ordering: .relaxed)
    }

    // MARK: Bytes in

    /// Runs what a client sent. `bytes` may be written to (quoted inline words are unescaped in
    /// place) and is not needed afterwards.
    public func receive(_ session: Session, _ bytes: UnsafeMutableRawPointer, _ count: Int) {
        session.inputBytes += UInt64(count)
        inputBytes += UInt64(count)
        if session.closesAfterReply { return }
        if session.input.isEmpty, session.wait == .none {
            let done = dispatcher.run(self, session, bytes, count)
            if done < count, !session.closesAfterReply {
                session.input.append(bytes + done, count - done)
                keepInline(session)
            }
        } else {
            session.input.append(bytes, count)
            runInput(session)
        }
    }

    /// Keeps what a client sent, for a loop that is in the middle of a request; not for the session whose
    /// request that is.
    public func keep(_ session: Session, _ bytes: UnsafeMutableRawPointer, _ count: Int) {
        precondition(session.token != runningToken, "its input is being run")
        session.inputBytes += UInt64(count)
        inputBytes += UInt64(count)
        if !session.closesAfterReply { session.input.append(bytes, count) }
    }

    /// Whether a request of this session is being run.
    public func isRunning(_ session: Session) -> Bool { session.token == runningToken }

    private func runInput(_ session: Session) {
        guard !session.input.isEmpty, session.wait == .none else { return }
        let done = dispatcher.run(self, session, session.input.bytes, session.input.count)
        session.input.consume(done)
        keepInline(session)
        if session.missingInput > 4096 { session.input.reserve(session.missingInput) }
    }

    private func keepInline(_ session: Session) {
        guard let (length, request) = session.pendingInline else { return }
        session.pendingInline = nil
        session.input.replaceFront(length, with: request)
    }

    /// Whether the connection should go on receiving for this session: not while it waits with a
    /// full buffer, so that a client cannot fill RAM by sending ahead.
    public func wantsInput(_ session: Session) -> Bool {
        session.wait == .none || session.input.count < 1 << 20
    }

    /// Runs sessions whose wait may be over.
    public func resume() {
        if !unfinished.isEmpty { runUnfinished() }
        resumeSessions()
        // What runs may serve clients that wait, and these may go on.
        while hasWork || nextDeadline.map({ $0 <= worker.now }) ?? false {
            if !unfinished.isEmpty { runUnfinished() }
            resumeWaiters()
        }
        endTurn()
    }

    /// What is told once a turn: changes beside commands, and broadcasts.
    public func endTurn() {
        if !notifications.isEmpty { sendNotifications() }
        sendBroadcasts()
        if audience.isListening { limitTrackedKeys() }
    }

    private func resumeSessions() {
        guard worker.hasRunnable else { return }
        worker.takeRunnable(into: &woken)
        for token in woken {
            guard let session = session(token), session.wait == .reads || session.wait == .memory
            else { continue }
            if session === replay { replayIsRunnable = true } else { goOn(session) }
        }
        woken.removeAll(keepingCapacity: true)
    }

    /// The connection has sent enough of the replies for the session to produce more.
    public func outputDrained(_ session: Session) { if session.wait == .output { goOn(session) } }

    /// A save has ended: clients that wait for it go on in `resume`.
    func resumeSavers() {
        for session in sessions.compactMap({ $0 }) where session.saveNumber != nil {
            worker.makeRunnable(session.token)
        }
    }

    /// Whether the running command had better be tried again in the next turn: a snapshot has to save a long
    /// value first, or its disk does not keep up.
    func waitsForSnapshot(_ token: UInt32) -> Bool {
        let mustWait = worker.snapshotIsCongested
            || (0..<keys.count).contains { keys.mustWaitForSnapshot($0) }
        if mustWait {
            keys.end()
            worker.makeRunnable(token)
        }
        return mustWait
    }

    /// Whether the running command had better be tried again in the next turn: the append-only file does not
    /// keep up.
    func waitsForLog(_ token: UInt32) -> Bool {
        guard commitLog!.isCongested else { return false }
        keys.end()
        worker.makeRunnable(token)
        return true
    }

    /// Replies of this loop that wait for commits to become durable: another loop asks.
    var holdsReplies: Bool { holding.load(ordering: .relaxed) }
    private let holding = Atomic<Bool>(false)
    public func setHolding(_ isHolding: Bool) {
        if isHolding != holding.load(ordering: .relaxed) { holding.store(isHolding, ordering: .relaxed) }
    }

    /// Clients are no longer paused.
    public func unpause() {
        let waiting = pausedSessions
        pausedSessions.removeAll()
        for token in waiting {
            if let session = session(token), session.wait == .pause { goOn(session) }
        }
    }

    /// Counts an error reply for INFO errorstats by its first word.
    func countError(_ reply: ByteView) {
        let text = reply[1..<reply.count]
        var end = 0
        while end < text.count, text[end] != UInt8(ascii: " "), text[end] != 13 { end += 1 }
        errorCounts[text[0..<end].text, default: 0] += 1
    }

    func goOn(_ session: Session) {
        precondition(sessions[Int(session.token)] === session, "a closed session does not go on")
        if let waiter = session.waiter { return runAgain(waiter) }
        session.wait = .none
        runInput(session)
        touched.append(session.token)
    }
}
