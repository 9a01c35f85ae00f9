import Glibc
import IOUring
import Primitives
import RESPFront
import RESPWire

/// What a loop does for its sockets in the middle of a request it cannot end: while a long script runs here,
/// while it stands still for one, or waits for a stripe one holds.
///
/// Nothing here runs a request on the keyspace, ends a disk request, closes a connection or touches the
/// session whose request is being run: such completions are kept, in their order, for the next turn.
extension EventLoop {
    /// One pass: accepts, receives, answers, without waiting.
    func serveWhileBusy() {
        if isServing || isStopping { return }
        isServing = true
        defer { isServing = false }
        deferRestOfBatch()
        guard (try? ring.flush()) != nil else { return }
        var more = CompletionBatch()
        while true {
            let count = ring.reap(into: &more)
            for i in 0..<count { deferred.append(more[i]) }
            if count < CompletionBatch.capacity { break }
        }
        var kept = RingQueue<Completion>()
        blocked.removeAll(keepingCapacity: true)
        while let completion = deferred.popFirst() {
            if !handleWhileBusy(completion) { kept.append(completion) }
        }
        deferred = kept
        if ring.preparedEntries == 0 { settleWholeSends() }
        for slot in toAnswer { answerWhileBusy(slot) }
        toAnswer.removeAll(keepingCapacity: true)
        rearm()
    }

    /// False: it has to be kept.
    private func handleWhileBusy(_ completion: Completion) -> Bool {
        let slot = completion.token.slot
        switch Kind(rawValue: completion.token.kind) {
        case .receive: return keepReceived(slot, completion)
        case .silentSend:
            connections[Int(slot)]?.silentResult = completion.result
            return true
        case .accept:
            accepted(slot, completion)
            return true
        case .signal:
            server.takeSignals(self, rearm: !completion.hasMore)
            return true
        case .mail:
            for message in mailbox.take() {
                switch message {
                case .adopt(let descriptor, let isUnix): adopt(descriptor, isUnix: isUnix)
                case .lookAround: looksAroundLater = true
                case .stop: isStopping = true
                }
            }
            // Mail of the fronts is read later.
            return false
        case .send, .disk, .header, .cancel, nil: return false
        }
    }

    private func keepReceived(_ slot: UInt32, _ completion: Completion) -> Bool {
        guard let connection = connections[Int(slot)], !connection.isClosing, !blocked.contains(slot),
            !front.isRunning(connection.session), completion.result > 0 || completion.result == -ENOBUFS
        else {
            blocked.insert(slot)
            // What it still sends must not take all buffers.
            if let connection = connections[Int(slot)], !connection.isClosing { holdBack(connection) }
            return false
        }
        if !completion.hasMore { connection.isReceiving = false }
        if let id = completion.bufferID {
            front.keep(connection.session, received.address(of: id), Int(completion.result))
            received.recycle(id)
            toAnswer.append(slot)
        }
        if !front.wantsInput(connection.session) || connection.session.queuedInput > 1 << 20 {
            holdBack(connection)
        } else if !connection.isReceiving, !connection.isHeldBack {
            starved.append(connection)
        }
        return true
    }

    /// Silent sends of which nothing was announced have gone out whole: their connections may be answered.
    private func settleWholeSends() {
        silent.removeAll { connection in
            guard !connection.isClosing, connection.session.wait != .output, connection.overLimitSince == nil,
                let result = connection.silentResult, Int(result) == connection.sending.count
            else { return false }
            connection.silentResult = nil
            connection.sending.removeAll()
            connection.session.unsentBytes = 0
            return true
        }
    }

    /// Answers and sends at once, past the ring: its sends end in a later turn.
    private func answerWhileBusy(_ slot: UInt32) {
        guard let connection = connections[Int(slot)], !connection.isClosing else { return }
        let session = connection.session
        front.answerWhileBusy(session)
        if !session.output.isEmpty, connection.sending.isEmpty, !connection.isSending {
            let sent = Glibc.send(
                connection.descriptor, session.output.bytes, session.output.count,
                Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            if sent > 0 {
                session.output.consume(sent)
                front.outputBytes &+= UInt64(sent)
            }
        }
        front.touched.append(slot)
    }
}
