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
/// What cannot be had so is had with the world stopped: the run ends, if it has written and published
/// nothing, and is repeated; the script is remembered and begins so the next time.
final class ScriptRunner {
    // What outlives its user, and is used at every EVAL.
    private unowned(unsafe) let front: Front
    /// For scripts and for libraries, which see different things.
    private var scripts: ScriptEngine?
    private var functions: ScriptEngine?
    private var scriptEpoch = 0
    private var functionEpoch = 0
    /// What this loop has compiled, by `Script.id`.
    private var compiled: [Int: ScriptEngine.Handle] = [:]
    private var loaded: [Int: ScriptEngine.Handle] = [:]
    /// Scripts by the hash of their text, and of their name: no SHA-1 and no text on the way of an EVAL.
    private var byText: [UInt64: Script] = [:]
    private var byName: [UInt64: Script] = [:]
    private let requests = RequestList()
    private let replies = ReplyBuffer(capacity: 1024)
    private var staged: [StagedRecord] = []
    // Of the script that runs.
    private(set) var isRunning = false
    private var isReadOnly = false
    private var hasNoRoom = false
    private var isAlone = false
    private var hasWritten = false
    /// It has written or published: a second run would do that twice.
    private var hasActed = false
    private var startedAt: UInt64 = 0
    /// RAM taken when it began.
    private var startBytes = 0
    private var isSlow = false
    private unowned(unsafe) var current: Script?
    /// What the library that is being loaded has registered; nil: none is being loaded.
    private var registered: [Library.Function]?

    init(_ front: Front) { self.front = front }

    /// Bytes Lua takes on this loop: for scripts and for functions.
    var scriptMemory: Int { scripts?.memory ?? 0 }
    var functionMemory: Int { functions?.memory ?? 0 }

    // MARK: Engines

    /// Forgets what SCRIPT FLUSH has made forgotten: `scripts` is there and up to date then.
    private func refreshScripts() throws(CommandError) {
        let now = front.server.scripts.epoch
        if scripts != nil, scriptEpoch == now { return }
        byText = [:]
        byName = [:]
        compiled = [:]
        scripts = nil
        scripts = try makeEngine(functions: false)
        scriptEpoch = now
    }

    /// The same of libraries and `functions`.
    private func refreshFunctions() throws(CommandError) {
        let now = front.server.libraries.epoch
        if functions != nil, functionEpoch == now { return }
        let known = Set(front.server.libraries.known.libraries.values.map(\.id))
        if known.isEmpty || functions == nil {
            loaded = [:]
            functions = nil
            functions = try makeEngine(functions: true)
        }
        for (id, handle) in loaded where !known.contains(id) {
            functions!.forget(handle)
            loaded[id] = nil
        }
        functionEpoch = now
    }

    private func makeEngine(functions: Bool) throws(CommandError) -> ScriptEngine {
        guard let fresh = ScriptEngine(limit: limit, functions: functions) else {
            throw .message("ERR not enough memory for the script engine")
        }
        fresh.host.call = { [unowned(unsafe) self] words, version in run(words, version) }
        fresh.host.check = { [unowned(unsafe) self] words in mayRun(words) }
        fresh.host.log = { [unowned(unsafe) self] level, text in
            // What a library says while it is loaded is said once.
            if registered == nil || logsLoading { front.server.logScript(level, text) }
        }
        fresh.host.interrupt = { [unowned(unsafe) self] in interrupt() }
        fresh.host.register = { [unowned(unsafe) self] in register($0, $1, $2) }
        return fresh
    }

    /// A sixteenth of maxmemory, and at least what ordinary scripts want; that is less where RAM is short.
    private var limit: Int {
        let share = front.server.configuration.maxmemory / max(1, front.server.fronts.count)
        let least = share == 0 ? 64 << 20 : min(64 << 20, max(8 << 20, share / 8))
        return max(least, share / 16)
    }

    /// Puts a changed maxmemory into force.
    func refreshLimit() {
        scripts?.setLimit(limit)
        functions?.setLimit(limit)
    }

    // MARK: Scripts

    /// The script of a text: compiled and made known to all loops if it is new.
    func load(_ body: ByteView) throws(CommandError) -> Script {
        try refreshScripts()
        let hash = front.worker.hash(body)
        if let script = byText[hash], case .text(let text, _) = script.code,
            text.withView({ $0 == body }) { return script }
        let sha = Digests.sha1(body)
        if let known = front.server.scripts.find(sha) {
            byText[hash] = known
            return known
        }
        let flags: ScriptFlags, skip: Int
        do throws(ShebangError) { (flags, skip) = try ScriptFlags.read(body) } catch {
            throw .message("ERR \(error.text)")
        }
        let script = Script(
            id: Script.nextID(), name: sha, code: .text(body.array, skip: skip), flags: flags,
            runsAlone: looksBeyondKeys(body))
        let handle = try compile(script)
        let known = front.server.scripts.add(sha, script)
        if known === script { compiled[script.id] = handle } else { scripts!.forget(handle) }
        byText[hash] = known
        return known
    }

    /// The script of a SHA-1. Errors: NOSCRIPT.
    func find(_ sha: ByteView) throws(CommandError) -> Script {
        try refreshScripts()
        let hash = front.worker.hash(sha)
        if let script = byName[hash], script.name.withView({ $0[0..<$0.count - 1] == sha }) { return script }
        guard let script = front.server.scripts.find(sha.lowercasedText) else {
            throw .message("NOSCRIPT No matching script. Please use EVAL.")
        }
        byName[hash] = script
        return script
    }

    private func compile(_ script: Script) throws(CommandError) -> ScriptEngine.Handle {
        guard case .text(let text, let skip) = script.code else {
            preconditionFailure("only scripts are compiled alone")
        }
        switch text.withView({ scripts!.compile($0[skip..<$0.count]) }) {
        case .done(let handle): return handle
        case .failed(let why): throw .message("ERR Error compiling script (new function): \(why)")
        }
    }

    /// Whether a text has the name of a command that looks beyond its keys as a string. It may not run it,
    /// or hide its name: this only saves the first run.
    private func looksBeyondKeys(_ body: ByteView) -> Bool {
        let pieces = body.lowercasedText.utf8.split(omittingEmptySubsequences: false) {
            $0 == UInt8(ascii: "'") || $0 == UInt8(ascii: "\"")
        }
        let words = Set(pieces.lazy.filter { $0.count < 32 }.map { String($0)! })
        return front.table.rows.contains {
            ($0.flags.contains(.stopsWorld) || $0.walks) && words.contains($0.name)
        }
    }

    // MARK: Libraries

    private var logsLoading = true

    /// FUNCTION LOAD: compiles a library and runs it. Nobody knows it yet; if that remains so, `drop` it.
    func load(library text: ByteView, _ header: Library.Header) throws(CommandError) -> Library {
        try refreshFunctions()
        let id = Script.nextID()
        let functions = try register(id, text, header.skip, logs: true)
        guard !functions.isEmpty else {
            drop(id)
            throw .message("ERR No functions registered")
        }
        return Library(
            id: id, header: header, text: text.array, functions: functions, runsAlone: looksBeyondKeys(text))
    }

    /// A library that was loaded has not become known after all.
    func drop(_ id: Int) { if let handle = loaded.removeValue(forKey: id) { functions?.forget(handle) } }

    private func register(
        _ id: Int, _ text: ByteView, _ skip: Int, logs: Bool
    ) throws(CommandError) -> [Library.Function] {
        registered = []
        logsLoading = logs
        startedAt = csystem_ticks()
        let outcome = functions!.load(text[skip..<text.count])
        let found = registered!
        registered = nil
        switch outcome {
        case .done(let handle): loaded[id] = handle
        case .failed(let why): throw .message("ERR \(why)")
        }
        return found
    }

    private func register(
        _ name: ByteView, _ description: ByteView?, _ flags: UInt32
    ) -> ScriptEngine.Registration {
        let name = name.text
        guard Library.isName(name) else { return .badName }
        if registered!.contains(where: { $0.name == name }) { return .alreadyThere }
        registered!.append(Library.Function(name: name, description: description?.array, flags: flags))
        return .done
    }

    private var byFunction: [UInt64: Script] = [:]

    /// The function of a name, in any case; nil: there is none.
    func function(_ name: ByteView) -> Script? {
        if functionEpoch != front.server.libraries.epoch { byFunction = [:] }
        let hash = front.worker.hash(name)
        if let script = byFunction[hash], script.name.withView({ $0[0..<$0.count - 1] == name }) {
            return script
        }
        guard let script = front.server.libraries.find(name.lowercasedText) else { return nil }
        if functionEpoch == front.server.libraries.epoch { byFunction[hash] = script }
        return script
    }

    // MARK: Running

    /// What a script is compiled to on this loop.
    private func prepare(_ script: Script) throws(CommandError) -> ScriptEngine.Handle {
        switch script.code {
        case .text:
            try refreshScripts()
            if let handle = compiled[script.id] { return handle }
            let handle = try compile(script)
            compiled[script.id] = handle
            return handle
        case .function(let library):
            try refreshFunctions()
            if let handle = loaded[library.id] { return handle }
            // The library keeps the bytes.
            _ = try register(library.id, library.text.withView { $0 }, library.skip, logs: false)
            return loaded[library.id]!
        }
    }

    /// Runs a script for the command that is being served, whose words from the fourth on are `keys` keys
    /// and then arguments, and answers it.
    func run(_ script: Script, _ call: Call, keys: Int) throws(CommandError) {
        let isReadOnlyCall = call.command.flags.contains(.readonly)
        if isReadOnlyCall, script.flags.contains(.declared), !script.flags.contains(.noWrites) {
            throw .message("ERR Can not execute a script with write flag using *_ro command.")
        }
        let handle = try prepare(script)
        isReadOnly = isReadOnlyCall || script.flags.contains(.noWrites)
        try admit(call, script)
        if front.audience.count(.monitors) > 0 {
            front.tellMonitors(call.session, call.command, call.arguments)
        }
        var finished = false
        if call.isInside {
            // A transaction with a script in it runs while the world stands still.
            finished = attempt(script, handle, call, keys, alone: true)
            precondition(finished, "a script that runs alone lacks nothing")
            return
        }
        if !script.runsAlone { finished = attempt(script, handle, call, keys, alone: false) }
        if finished { return }
        script.markAlone()
        front.keys.end()
        front.server.standAlone {
            front.worker.runAlone {
                finished = attempt(script, handle, call, keys, alone: true)
                front.serveWaiters(call.session)
                front.keys.forgetKeys()
            }
        }
        precondition(finished, "a script that runs alone lacks nothing")
    }

    /// What the script has written takes more RAM than there is: nothing can be demoted while it runs. That
    /// others have taken it is not the script's fault.
    private var overdraws: Bool {
        let used = front.worker.liveBytes, limit = front.worker.ledgerLimit
        return used > limit + limit / 32 && used - startBytes > limit / 16
            && !current!.flags.contains(.allowsNoMemory)
    }

    /// Waits for RAM before anything is done; a script that may write needs some.
    private func admit(_ call: Call, _ script: Script) throws(CommandError) {
        hasNoRoom = false
        if isReadOnly || call.isInside { return }
        var bytes = 4096
        for i in 3..<max(3, call.wordCount) { bytes += call.arguments[i].count + 64 }
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
        _ script: Script, _ handle: ScriptEngine.Handle, _ call: Call, _ keys: Int, alone: Bool
    ) -> Bool {
        let session = call.session, command = call.command, words = call.arguments
        let wasInside = call.isInside, database = session.database
        let engine = (script.isFunction ? functions : scripts)!
        (isAlone, hasWritten, hasActed, isRunning, isSlow) = (alone, false, false, true, false)
        current = script
        runningWords = words
        startedAt = csystem_ticks()
        startBytes = front.worker.liveBytes
        front.scriptPhase.begin(isFunction: script.isFunction)
        // The keys are held as views of the request, which stays; commands open windows of their own.
        front.keys.forgetKeys()
        call.isInside = true
        call.grantedRoom = 0
        front.beginGroup()
        let arguments = max(0, words.count - 3 - keys), version = Int(session.version.rawValue)
        let outcome = script.isFunction
            ? engine.call(handle, name: script.name, keys: keys, arguments: arguments, version: version) {
                words[3 + $0]
            }
            : engine.run(handle, name: script.name, keys: keys, arguments: arguments, version: version) {
                words[3 + $0]
            }
        isRunning = false
        front.endGroup()
        let wasKilled = front.scriptPhase.phase == .toBeEnded
        front.scriptPhase.finish()
        if isSlow { front.server.busyness.add(-1, isFunction: script.isFunction) }
        if noted { front.scriptPhase.running = nil }
        noted = false
        call.isInside = wasInside
        call.command = command
        call.arguments = words
        session.database = database
        call.reply = ReplyWriter(session.output, version: session.version)
        letGo()
        switch outcome {
        case .done(let bytes): session.output.append(bytes)
        case .failed(let text): call.reply.error(text)
        case .ended:
            guard wasKilled else { return false }
            writeKilled(call.reply)
        }
        return true
    }

    private func writeKilled(_ reply: ReplyWriter) {
        reply.error("ERR Script killed by user with SCRIPT KILL...")
    }

    /// The values that were read are needed no more.
    func letGo() {
        if staged.isEmpty { return }
        for record in staged { front.worker.unstage(record) }
        staged.removeAll(keepingCapacity: true)
    }

    // MARK: Long runs

    /// What runs was told of to other loops.
    private var noted = false
    private var runningWords: Arguments?

    /// Asked now and then by code that runs: whether it is to end.
    private func interrupt() -> Bool {
        let spent = Double(csystem_ticks() &- startedAt) / front.server.ticksPerMicrosecond / 1000
        if registered != nil { return spent > 500 || front.server.busyness.isEnding }
        if !noted { note() }
        if !isSlow, spent >= Double(front.server.configuration.busyReplyThreshold) { becomeSlow(spent) }
        if isSlow { front.serveWhileBusy() }
        return front.scriptPhase.phase == .toBeEnded || front.server.busyness.isEnding
    }

    /// Lets FUNCTION STATS on other loops know what runs.
    private func note() {
        noted = true
        let words = (0..<runningWords!.count).map { runningWords![$0].array }
        front.scriptPhase.running = ScriptPhase.Running(
            name: current!.shownName, command: words, since: startedAt)
    }

    private func becomeSlow(_ milliseconds: Double) {
        isSlow = true
        front.server.busyness.add(1, isFunction: current!.isFunction)
        let line = """
            Slow script detected: still in execution after \(Int(milliseconds)) milliseconds. You can try \
            killing the script using the \(current!.isFunction ? "FUNCTION" : "SCRIPT") KILL command. \
            Script name is: \(current!.shownName).
            """
        Array(line.utf8).withView { front.server.logScript(3, $0) }
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
        if writes, front.busyness.isUnwritable, let refusal = front.busyness.refusal(of: row) {
            replies.truncate(to: 0)
            ErrorText.write(refusal, command: row.name, to: ReplyWriter(replies))
            return replies.view
        }
        if row.flags.contains(.growsMemory), hasNoRoom || overdraws {
            return refuse("OOM command not allowed when used memory > 'maxmemory'.")
        }
        if !isAlone, row.runsAlone(arguments) {
            if hasActed {
                current!.markAlone()
                return refuse("""
                    ERR this command looks beyond its keys, and the script has written or published already
                    """)
            }
            return nil
        }
        return perform(row, arguments, version == 3 ? .resp3 : .resp2, writes)
    }

    /// How long a stripe another loop holds is waited for, in microseconds: by a script that has written
    /// nothing, and by one that has while another that has waits for longer.
    private static let shortWait = 500.0, contestedWait = 2000.0

    private func perform(
        _ row: Command, _ arguments: Arguments, _ version: ReplyWriter.Version, _ writes: Bool
    ) -> ByteView? {
        let front = front, call = front.call, session = call.session
        if writes, !hasWritten, !front.scriptPhase.write() {
            replies.truncate(to: 0)
            writeKilled(ReplyWriter(replies))
            return replies.view
        }
        var since: UInt64?, contestedSince: UInt64?, cold: [Int] = []
        defer { if since != nil { front.scriptPhase.waitsSince = 0 } }
        while true {
            replies.truncate(to: 0)
            call.reply = ReplyWriter(replies, version: version)
            if front.runInside(row, arguments, for: session) != .notReady {
                if !cold.isEmpty { giveBack(cold) }
                if writes { hasWritten = true }
                if writes || row.flags.isSuperset(of: [.pubsub, .mayReplicate]) { hasActed = true }
                front.keys.forgetKeys()
                return replies.view
            }
            if front.keys.tryLockWindow() {
                cold = (0..<front.keys.count).filter { !front.keys.isUsable($0) }
                guard front.fetchWindow(&staged) else {
                    return refuse("IOERR the value of a key cannot be read")
                }
                front.keys.forgetKeys()
                continue
            }
            front.keys.forgetKeys()
            let now = csystem_ticks()
            if since == nil { since = now }
            if !hasActed {
                if microseconds(since!, now) > ScriptRunner.shortWait { return nil }
                csystem_pause()
                continue
            }
            if front.scriptPhase.waitsSince == 0 { beginWait() }
            contestedSince = isFirstToWait ? nil : contestedSince ?? now
            if let contestedSince, microseconds(contestedSince, now) > ScriptRunner.contestedWait {
                return refuse("ERR a key the script has not declared is in use by another script")
            }
            if microseconds(since!, now) > 1000, interrupt() {
                replies.truncate(to: 0)
                writeKilled(ReplyWriter(replies))
                return replies.view
            }
            csystem_pause()
        }
    }

    /// Lets go of what a command has read beyond the script's keys if RAM is short: the script may read more
    /// than there is RAM for, and no turn ends meanwhile.
    private func giveBack(_ cold: [Int]) {
        guard front.worker.isShort else { return }
        letGo()
        for i in cold { front.keys.giveBack(i) }
    }

    private func microseconds(_ since: UInt64, _ now: UInt64) -> Double {
        Double(now &- since) / front.server.ticksPerMicrosecond
    }

    /// A script that has written waits for a stripe. It begins with the world stopped the next time.
    private func beginWait() {
        current!.markAlone()
        front.scriptPhase.waitsSince = front.server.busyness.nextTicket()
    }

    /// No other script that has written has waited for longer. Two may hold what the other wants, and
    /// neither can be undone: all but the first give up, so that always one goes on.
    private var isFirstToWait: Bool {
        let mine = front.scriptPhase.waitsSince
        return front.server.fronts.allSatisfy {
            let other = $0.scriptPhase.waitsSince
            return other == 0 || other >= mine
        }
    }
}
