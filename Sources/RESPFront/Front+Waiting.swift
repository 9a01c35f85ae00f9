import CSystem
import Primitives
import RESPWire
import TieredStore

// Clients that wait for keys: BLPOP and its like.
//
// A waiter stands in the queue of each of its keys, in the order in which clients came, whatever loop
// they are on; the queues are guarded by the keys' stripes. Whoever changes such a key runs the first
// waiter's command for it before letting go of the stripe, so that nobody comes in between, and mails
// the reply. A waiter is claimed by one compare-and-exchange, which its end by time competes with.
extension Front {
    /// How a wait ends without a value.
    enum WaitEnd { case null, error }

    /// A key somebody waits for was changed by the running command.
    struct ReadyKey {
        let key: [UInt8]
        let hash: UInt64
        let database: Int
    }

    // MARK: Beginning

    /// The session's command found nothing; its keys' stripes are held. It waits, at the end of every
    /// key's queue.
    func beginWait(_ session: Session, _ row: Command, _ arguments: Arguments, until deadline: Int64) {
        session.wait = .keys
        if let waiter = session.waiter {
            // Was tried again: it kept its places.
            return waiter.settle(.waiting)
        }
        let request = RequestList()
        request.append(arguments)
        let waiter = Waiter(
            client: address(of: session), session: session, database: session.database,
            deadline: deadline, commandName: row.name, request: request)
        if !call.starts.isEmpty { waiter.starts = call.starts }
        call.starts = []
        session.waiter = waiter
        let count = row.flags.contains(.answersNull) ? min(1, keys.count) : keys.count
        for i in 0..<count {
            let hash = keys.keyHash(i), stripe = worker.stripeNumber(of: hash)
            let interest = server.interests.findOrAdd(
                keys.key(i), hash: hash, stripe: stripe, database: session.database)
            if interest.waiters.contains(where: { $0 === waiter }) { continue }
            interest.waiters.append(waiter)
            waiter.places.append((interest.key, hash))
        }
        audience.add(1, to: .waiters)
        if deadline > 0 { deadlines.add(waiter, at: deadline) }
        dropStaged(session)
    }

    /// Values read ahead for the session's later requests are not kept while it waits.
    private func dropStaged(_ session: Session) {
        for (record, _) in session.staged { worker.unstage(record) }
        session.staged.removeAll()
        session.stagedBytes = 0
    }

    func address(of session: Session) -> ClientAddress {
        ClientAddress(loop: index, token: session.token, id: session.id)
    }

    // MARK: Serving

    /// Serves whoever waits for the keys the command changed; their stripes are still held.
    func serveWaiters(_ session: Session) {
        guard !readyKeys.isEmpty else { return }
        let command = call.command, arguments = call.arguments, wasInside = call.isInside
        call.isInside = true
        call.grantedRoom = 0
        var i = 0
        while i < readyKeys.count {
            serve(readyKeys[i], session)
            i += 1
        }
        readyKeys.removeAll(keepingCapacity: true)
        call.isInside = wasInside
        call.givenDatabase = nil
        call.command = command
        call.arguments = arguments
        call.reply = ReplyWriter(session.output, version: session.version)
    }

    private func serve(_ place: ReadyKey, _ session: Session) {
        let stripe = worker.stripeNumber(of: place.hash)
        let interest = place.key.withView {
            server.interests.find($0, hash: place.hash, stripe: stripe, database: place.database)
        }
        guard let interest else { return }
        for waiter in interest.waiters {
            let exists = place.key.withView {
                worker.exists($0, hash: place.hash, database: place.database)
            }
            if !exists, waiter.commandName != "xreadgroup" { break }
            guard waiter.take(.claimed) else { continue }
            switch run(waiter, place, session) {
            case .done:
                waiter.settle(.answered)
                interest.waiters.removeAll { $0 === waiter }
                let reply = servingReply.view.array
                if waiter.client.loop == index {
                    answer(waiter, reply)
                } else {
                    server.fronts[waiter.client.loop].post(.answer(waiter, reply))
                }
            case .blocked: waiter.settle(.waiting)
            case .notReady:
                // Its own loop has to fetch what is missing. Nobody behind it is served before.
                waiter.settle(.waiting)
                if waiter.client.loop == index {
                    retry(waiter)
                } else {
                    server.fronts[waiter.client.loop].post(.retry(waiter))
                }
                return
            }
        }
        server.interests.dropIfEmpty(interest, hash: place.hash, stripe: stripe)
    }

    /// Runs a claimed waiter's command; the reply is in `servingReply`.
    private func run(_ waiter: Waiter, _ place: ReadyKey, _ session: Session) -> InsideResult {
        guard let row = Array(waiter.commandName.utf8).withView({ table.find($0) })?.takeUnretainedValue()
        else { preconditionFailure("no row named \(waiter.commandName)") }
        servingReply.removeAll()
        call.reply = ReplyWriter(servingReply, version: waiter.version)
        call.givenDatabase = waiter.database
        call.servedWaiter = waiter
        defer { call.servedWaiter = nil }
        let result = place.key.withView {
            runInside(row, waiter.request[0], for: session, ready: $0)
        }
        if result == .done, servingReply.count > 0, servingReply.view[0] == UInt8(ascii: "-") {
            let text = servingReply.view
            // Redis 7.0: a key of another type is not what the client waits for; but a list that
            // cannot be moved from, because of its destination, is an error.
            let isDestination = row.flags.contains(.answersNull) && keys.type(0) == .list
            if text.count > 10, text[0..<10] == ByteView("-WRONGTYPE"), !isDestination { return .blocked }
            if text.count > 4, text[0..<4] == ByteView("-OOM") { return .notReady }
        }
        return result
    }

    // MARK: Ending

    /// Another loop, or this one, has run the waiter's command.
    func answer(_ waiter: Waiter, _ reply: [UInt8]) {
        guard let session = waitingSession(waiter) else { return }
        finishWait(session, waiter) { session in
            reply.withView { session.output.append($0) }
        }
    }

    /// The time is over, or CLIENT UNBLOCK wants it so. `waiter` may have been answered meanwhile.
    func endWait(_ waiter: Waiter, _ end: WaitEnd) {
        guard let session = waitingSession(waiter) else { return }
        guard waiter.take(.cancelled) || waiter.isCancelled else {
            // Claimed: it will be answered, or wait again; looked at again in a moment.
            if !waiter.isAnswered { deadlines.add(waiter, at: worker.now + 1) }
            return
        }
        finishWait(session, waiter) { session in
            let reply = ReplyWriter(session.output, version: session.version)
            // Redis 7.0: a null array even for BLMOVE, which in a transaction answers null.
            if end == .error {
                reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
            } else {
                reply.nullArray()
            }
        }
    }

    private func waitingSession(_ waiter: Waiter) -> Session? {
        guard let session = session(waiter.client.token), session.waiter === waiter else { return nil }
        return session
    }

    /// The session leaves all queues, gets its reply and goes on in `resume`.
    private func finishWait(_ session: Session, _ waiter: Waiter, _ write: (Session) -> Void) {
        leaveQueues.append(waiter)
        session.waiter = nil
        session.wait = .keys
        dropStaged(session)
        let mark = session.output.count
        write(session)
        if session.output.count > mark, session.output.view[mark] == UInt8(ascii: "-") {
            countError(session.output.view(from: mark))
        }
        if session.replyMode != .on { session.obeyReplyMode(mark) }
        answered.append(session.token)
        audience.add(-1, to: .waiters)
    }

    /// Takes ended waiters out of their queues; no stripe is held. Done late: who ends a wait may hold
    /// some.
    private func leaveAllQueues() {
        guard !leaveQueues.isEmpty else { return }
        let waiters = leaveQueues
        leaveQueues.removeAll(keepingCapacity: true)
        for waiter in waiters { leaveQueues(waiter) }
    }

    private func leaveQueues(_ waiter: Waiter) {
        for (key, hash) in waiter.places {
            worker.withStripe(of: hash) {
                let stripe = worker.stripeNumber(of: hash)
                let interest = key.withView {
                    server.interests.find($0, hash: hash, stripe: stripe, database: waiter.database)
                }
                guard let interest else { return }
                interest.waiters.removeAll { $0 === waiter }
                server.interests.dropIfEmpty(interest, hash: hash, stripe: stripe)
            }
        }
    }

    /// The session is gone. A loop that is running its command now is waited for: it must not go on
    /// believing that somebody waits.
    func cancelWait(_ session: Session) {
        guard let waiter = session.waiter else { return }
        while !waiter.take(.cancelled), !waiter.isAnswered, !waiter.isCancelled { csystem_pause() }
        session.waiter = nil
        audience.add(-1, to: .waiters)
        leaveQueues(waiter)
    }

    // MARK: Going on

    /// The waiter's command may find something now, but needs its own loop.
    func retry(_ waiter: Waiter) { retries.append(waiter) }

    /// Ends waits whose time is over, tries again what was asked for, and lets answered sessions go on.
    func resumeWaiters() {
        while let waiter = deadlines.pop(by: worker.now) { endWait(waiter, .null) }
        while !retries.isEmpty {
            let waiters = retries
            retries.removeAll(keepingCapacity: true)
            for waiter in waiters { runAgain(waiter) }
        }
        leaveAllQueues()
        while !answered.isEmpty {
            let tokens = answered
            answered.removeAll(keepingCapacity: true)
            for token in tokens {
                if let session = session(token), session.wait == .keys, session.waiter == nil {
                    goOn(session)
                }
            }
            leaveAllQueues()
        }
    }

    func runAgain(_ waiter: Waiter) {
        guard let session = waitingSession(waiter), waiter.take(.claimed) else { return }
        session.wait = .none
        dispatcher.runAgain(self, session, waiter)
        if session.wait == .none {
            waiter.settle(.answered)
            finishWait(session, waiter) { _ in }
            touched.append(session.token)
        } else if session.wait != .keys {
            // It waits for reads or RAM. If it found nothing, it was settled under its stripes.
            waiter.settle(.waiting)
        }
    }

    /// Unix milliseconds at which the next wait ends.
    public var nextDeadline: Int64? { deadlines.first }
    /// Whether `resume` has something to do.
    public var hasWork: Bool {
        !answered.isEmpty || !retries.isEmpty || !leaveQueues.isEmpty || !unfinished.isEmpty
    }
}
