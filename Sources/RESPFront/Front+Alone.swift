import Primitives
import TieredStore

/// Keys the words of a command do not name: SORT's patterns make them of what they find, scripts as they go.
extension Front {
    /// Runs the rest of a command while every other loop stands still, so that it may look at any key. Its
    /// own keys are taken again: they may have changed in between. Inside a transaction or a script the
    /// world stands still already (`Command.runsAlone`).
    func finishAlone(_ body: () throws(CommandError) -> Void) throws(CommandError) {
        if call.isInside { return try body() }
        let session = call.session, row = call.command, arguments = call.arguments
        var failure: CommandError?
        keys.end()
        server.standAlone {
            worker.runAlone {
                openWindow(row, arguments, nil)
                var staged: [StagedRecord] = []
                do throws(CommandError) {
                    if !fetchWindow(&staged) { throw .unreadable }
                    try body()
                    if isRecording { record(row, arguments, reply: .empty) }
                    if audience.isListening {
                        publishKeys(session, row)
                        if !readyKeys.isEmpty { serveWaiters(session) }
                    }
                } catch { failure = error }
                for record in staged { worker.unstage(record) }
                keys.forgetKeys()
            }
        }
        if let failure { throw failure }
    }

    /// Reads the values of the window's keys, now: the loop does nothing else meanwhile. False if a disk
    /// does not answer. The records are the caller's to give back.
    func fetchWindow(_ staged: inout [StagedRecord]) -> Bool {
        for i in 0..<keys.count { stageNow(i, &staged) }
        // While one is waited for, the record of another may move, or its value leave RAM.
        while true {
            worker.restoreAll()
            if (0..<keys.count).allSatisfy({ keys.isUsable($0) }) { return true }
            if !finishReads() { return false }
            for i in 0..<keys.count where !keys.isUsable(i) { stageNow(i, &staged) }
        }
    }

    private func stageNow(_ i: Int, _ staged: inout [StagedRecord]) {
        switch keys.stage(i, token: UInt32.max) {
        case .usable: return
        case .staged(let record), .reading(let record): staged.append(record)
        }
    }

    /// How many values are read together, at most.
    static let aside = 128

    /// Lends the values of keys the command does not name, in their order: `visit` gets a name's place and
    /// may ask `keys` for key `i`. Reads only; the world stands still.
    func readAside(
        _ names: [[UInt8]], _ visit: (_ place: Int, _ i: Int) throws(CommandError) -> Void
    ) throws(CommandError) {
        var failure: CommandError?, next = 0
        while next < names.count, failure == nil {
            let some = names[next..<min(names.count, next + Front.aside)]
            Array(some.joined()).withView { bytes in
                keys.inWindow {
                    do throws(CommandError) { next += try readWindow(some, bytes, visit) } catch {
                        failure = error
                    }
                }
            }
            // What was read has come into RAM, and no turn ends meanwhile. A transaction's and a script's
            // next commands count on values that are there.
            if !call.isInside { _ = worker.background() }
        }
        if let failure { throw failure }
    }

    /// Visits the first of the keys, as many as may be in RAM together; returns how many.
    private func readWindow(
        _ names: ArraySlice<[UInt8]>, _ bytes: ByteView,
        _ visit: (_ place: Int, _ i: Int) throws(CommandError) -> Void
    ) throws(CommandError) -> Int {
        var at = 0, coldBytes = 0
        for name in names where coldBytes < worker.ledgerLimit / 16 {
            let key = bytes[at..<at + name.count]
            keys.add(key, hash: worker.hash(key), database: call.database)
            at += name.count
            coldBytes += keys.coldBytes(keys.count - 1)
        }
        let count = keys.count, cold = (0..<count).filter { !keys.isUsable($0) }
        var staged: [StagedRecord] = []
        defer {
            for record in staged { worker.unstage(record) }
            for i in cold { keys.giveBack(i) }
        }
        if !fetchWindow(&staged) { throw .unreadable }
        for i in 0..<count { try visit(names.startIndex + i, i) }
        return count
    }
}
