import CSystem
import Primitives
import RESPWire
import Scripting
import TieredStore

/// One loop's Lua, and the script that runs in it.
///
/// A script's declared keys are locked and staged by the dispatcher before it runs, as those of any
/// command. A command with other keys takes their stripes if they are free and reads cold values at once,
/// while everything else on this loop, and whoever wants one of the stripes held, waits for the disk.
/// What cannot be had so is had with the world stopped: the run ends, if it has written nothing, and is
/// repeated; the script is remembered and begins so the next time.
final class ScriptRunner {
    private unowned let front: Front
    private var engine: ScriptEngine?
    private var epoch = 0
    private let requests = RequestList()
    private let replies = ReplyBuffer(capacity: 1024)
    private var staged: [StagedRecord] = []
    // Of the script that runs.
    private(set) var isRunning = false
    private var isReadOnly = false
    private var hasNoRoom = false
    private var isAlone = false
    private var hasWritten = false
    private var needsAlone = false

    init(_ front: Front) { self.front = front }

    /// Bytes Lua takes on this loop.
    var memory: Int { engine?.memory ?? 0 }

    private func current() throws(CommandError) -> ScriptEngine {
        let now = front.server.scripts.epoch
        if let engine, epoch == now { return engine }
        guard let fresh = ScriptEngine(limit: limit) else {
            throw .message("ERR not enough memory for the script engine")
        }
        fresh.host.call = { [unowned self] words, version in run(words, version) }
        fresh.host.check = { [unowned self] words in mayRun(words) }
        fresh.host.log = { [unowned self] level, text in front.server.logScript(level, text) }
        fresh.host.interrupt = { [unowned self] in front.scriptPhase.phase == .toBeEnded }
        engine = fresh
        epoch = now
        return fresh
    }

    /// A sixteenth of maxmemory, and at least what ordinary scripts want.
    private var limit: Int {
        max(64 << 20, front.server.configuration.maxmemory / 16 / max(1, front.server.fronts.count))
    }

    // MARK: Compiling

    /// Compiles a script, if this loop has not, and makes it known to all loops. Returns its SHA-1.
    func load(_ body: ByteView) throws(CommandError) -> String {
        let sha = Digests.sha1(body)
        if front.server.scripts.find(sha) != nil { return sha }
        let flags: ScriptFlags, skip: Int
        do throws(ShebangError) { (flags, skip) = try ScriptFlags.read(body) } catch {
            throw .message("ERR \(error.text)")
        }
        let engine = try current()
        if let message = engine.compile("f_" + sha, body[skip..<body.count]) {
            throw .message("ERR Error compiling script (new function): \(message)")
        }
        front.server.scripts.add(sha, ScriptCache.Script(
            body: body.array, flags: flags, runsAlone: looksBeyondKeys(body)))
        return sha
    }

    /// Whether the text names a command that looks beyond its keys. It may not run it, or hide its name:
    /// this only saves the first run.
    private func looksBeyondKeys(_ body: ByteView) -> Bool {
        let words = Set(body.lowercasedText.split { !$0.isLetter }.map(String.init))
        return front.table.rows.contains {
            ($0.flags.contains(.stopsWorld) || $0.walks) && words.contains($0.name)
        }
    }

    // MARK: Running

    /// Runs a known script for the command that is being served, and answers it.
    func run(_ sha: String, _ call: Call, keys: [ByteView], arguments: [ByteView]) throws(CommandError) {
        guard let script = front.server.scripts.find(sha) else {
            throw .message("NOSCRIPT No matching script. Please use EVAL.")
        }
        let isReadOnlyCall = call.command.flags.contains(.readonly)
        if isReadOnlyCall, script.flags.contains(.declared), !script.flags.contains(.noWrites) {
            throw .message("ERR Can not execute a script with write flag using *_ro command.")
        }
        let engine = try current()
        if !engine.has("f_" + sha) {
            let skip = (try? ScriptFlags.read(script.body.withView { $0 }))?.skip ?? 0
            let message = script.body.withView { engine.compile("f_" + sha, $0[skip..<$0.count]) }
            if let message { throw .message("ERR Error compiling script (new function): \(message)") }
        }
        isReadOnly = isReadOnlyCall || script.flags.contains(.noWrites)
        try admit(call, script, keys, arguments)
        if front.audience.count(.monitors) > 0 {
            front.tellMonitors(call.session, call.command, call.arguments)
        }
        var finished = false
        if call.isInside {
            // A transaction with a script in it runs while the world stands still.
            finished = attempt(engine, sha, call, keys, arguments, alone: true)
            precondition(finished, "a script that runs alone lacks nothing")
            return
        }
        if !script.runsAlone { finished = attempt(engine, sha, call, keys, arguments, alone: false) }
        if finished { return }
        front.server.scripts.markAlone(sha)
        front.keys.end()
        front.server.runAlone {
            front.worker.runAlone {
                finished = attempt(engine, sha, call, keys, arguments, alone: true)
                front.serveWaiters(call.session)
                front.keys.forgetKeys()
            }
        }
        precondition(finished, "a script that runs alone lacks nothing")
    }

    /// Waits for RAM before anything is done; a script that may write needs some.
    private func admit(
        _ call: Call, _ script: ScriptCache.Script, _ keys: [ByteView], _ arguments: [ByteView]
    ) throws(CommandError) {
        hasNoRoom = false
        if isReadOnly || call.isInside { return }
        let bytes = (keys + arguments).reduce(4096) { $0 + $1.count + 64 }
        do { try call.requireRoom(bytes) } catch {
            guard case .outOfMemory = error else { throw error }
            if script.flags.contains(.declared), !script.flags.contains(.allowsNoMemory) {
                throw .message("""
                    OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'
                    """)
            }
            hasNoRoom = !script.flags.contains(.allowsNoMemory)
        }
    }

    /// One run; false when it ended because it needs to be alone. The answer is written.
    private func attempt(
        _ engine: ScriptEngine, _ sha: String, _ call: Call, _ keys: [ByteView], _ arguments: [ByteView],
        alone: Bool
    ) -> Bool {
        let session = call.session, command = call.command, words = call.arguments
        let wasInside = call.isInside, database = session.database
        (isAlone, hasWritten, needsAlone, isRunning) = (alone, false, false, true)
        front.scriptPhase.set(.running)
        // The keys are held as views of the request, which stays; commands open windows of their own.
        front.keys.forgetKeys()
        call.isInside = true
        call.grantedRoom = 0
        let outcome = engine.run(
            "f_" + sha, keys: keys, arguments: arguments, version: Int(session.version.rawValue))
        isRunning = false
        front.scriptPhase.set(.idle)
        call.isInside = wasInside
        call.command = command
        call.arguments = words
        session.database = database
        call.reply = ReplyWriter(session.output, version: session.version)
        for record in staged { front.worker.unstage(record) }
        staged.removeAll(keepingCapacity: true)
        switch outcome {
        case .done(let bytes): session.output.append(bytes)
        case .failed(let text): call.reply.error(text)
        case .ended: return false
        }
        return true
    }

    // MARK: Commands of the script

    private func refuse(_ text: StaticString) -> ByteView {
        replies.truncate(to: 0)
        ReplyWriter(replies).error(text)
        return replies.view
    }

    private func row(_ words: Arguments) -> Command? {
        guard let row = front.table.find(words[0])?.takeUnretainedValue() else { return nil }
        if row.subcommands.isEmpty || words.count < 2 { return row }
        return row.subcommand(words[1])
    }

    private func mayRun(_ words: ScriptWords) -> Bool? {
        requests.removeAll()
        requests.append(count: words.count) { words[$0] }
        guard let row = row(requests[0]), row.accepts(wordCount: words.count) else { return nil }
        return true
    }

    /// Runs a command of the script; nil ends the script's run.
    private func run(_ words: ScriptWords, _ version: Int) -> ByteView? {
        requests.removeAll()
        requests.append(count: words.count) { words[$0] }
        let arguments = requests[0]
        guard let row = row(arguments) else { return refuse("ERR Unknown Redis command called from script") }
        guard row.accepts(wordCount: arguments.count) else {
            return refuse("ERR Wrong number of args calling Redis command from script")
        }
        if row.flags.contains(.noScript) {
            return refuse("ERR This Redis command is not allowed from script")
        }
        let writes = row.flags.contains(.write)
        if writes, isReadOnly {
            return refuse("ERR Write commands are not allowed from read-only scripts.")
        }
        if row.flags.contains(.growsMemory), hasNoRoom {
            return refuse("OOM command not allowed when used memory > 'maxmemory'.")
        }
        if !isAlone, row.runsAlone(arguments) {
            if hasWritten {
                return refuse("ERR this command looks beyond its keys, and the script has written already")
            }
            return nil
        }
        return perform(row, arguments, version == 3 ? .resp3 : .resp2, writes)
    }

    /// How long a stripe another loop holds is waited for, in microseconds.
    private static let shortWait = 500.0, longWait = 1_000_000.0

    private func perform(
        _ row: Command, _ arguments: Arguments, _ version: ReplyWriter.Version, _ writes: Bool
    ) -> ByteView? {
        let call = front.call, session = call.session
        if writes, !hasWritten, !front.scriptPhase.write() {
            return refuse("ERR Script killed by user with SCRIPT KILL.")
        }
        var since: UInt64?
        while true {
            replies.truncate(to: 0)
            call.reply = ReplyWriter(replies, version: version)
            if front.runInside(row, arguments, for: session) != .notReady {
                if writes { hasWritten = true }
                front.keys.forgetKeys()
                return replies.view
            }
            if front.keys.tryLockWindow() {
                guard front.fetchWindow(&staged) else { return refuse("IOERR the value of a key cannot be read") }
                front.keys.forgetKeys()
                continue
            }
            front.keys.forgetKeys()
            let now = csystem_ticks()
            let waited = Double(now &- (since ?? now)) / front.server.ticksPerMicrosecond
            since = since ?? now
            if !hasWritten, waited > ScriptRunner.shortWait { return nil }
            if waited > ScriptRunner.longWait {
                return refuse("ERR a key the script has not declared is in use by another script")
            }
            csystem_pause()
        }
    }
}
