import Glibc
import IOUring
import Primitives
import RESPFront
import RESPWire
import TieredStore

/// Sockets of one loop: accepting, receiving, sending, closing.
extension EventLoop {
    // MARK: Accepting

    /// A listener of the first loop accepted a connection: it goes to the loops in turn.
    func accepted(_ slot: UInt32, _ completion: Completion) {
        if let failure = completion.failure {
            // Out of descriptors, most often: at once it would fail again.
            if !completion.hasMore { server.acceptFailed(self, Int(slot), failure) }
            return
        }
        if !completion.hasMore { server.armListener(self, Int(slot)) }
        let isUnix = server.listeners[Int(slot)].isUnix
        let target = server.nextLoop()
        if target == index {
            adopt(completion.result, isUnix: isUnix)
        } else {
            server.mailboxes[target].post(.adopt(descriptor: completion.result, isUnix: isUnix))
        }
    }

    func adopt(_ descriptor: Int32, isUnix: Bool) {
        if let refusal = server.refusal(of: descriptor, isUnix: isUnix) {
            refuse(descriptor, refusal)
            return
        }
        let configuration = server.configuration
        if !isUnix {
            try? Descriptors.setNoDelay(descriptor)
            if configuration.tcpKeepalive > 0 {
                try? Descriptors.setKeepAlive(descriptor, seconds: Int32(configuration.tcpKeepalive))
            }
        }
        let names = SocketName.of(descriptor, unixPath: isUnix ? configuration.unixsocket : nil)
        let session = front.open(
            descriptor: descriptor, peerAddress: names.peer, localAddress: names.local)
        let slot = session.token
        while connections.count <= Int(slot) { connections.append(nil) }
        let connection = Connection(descriptor: descriptor, session: session, slot: slot)
        connections[Int(slot)] = connection
        receive(connection)
    }

    /// One error line, then the connection is closed.
    private func refuse(_ descriptor: Int32, _ line: String) {
        let bytes = Array(line.utf8)
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        Descriptors.close(descriptor)
        server.connectionEnded()
    }

    // MARK: Receiving

    func receive(_ connection: Connection) {
        connection.isReceiving = true
        ring.receive(
            connection.descriptor, group: EventLoop.receiveGroup,
            EventLoop.token(.receive, connection.slot))
    }

    func received(_ slot: UInt32, _ completion: Completion) {
        guard let connection = connections[Int(slot)] else {
            if let id = completion.bufferID { received.recycle(id) }
            return
        }
        if !completion.hasMore { connection.isReceiving = false }
        if let id = completion.bufferID {
            if completion.result > 0, !connection.isClosing {
                front.receive(connection.session, received.address(of: id), Int(completion.result))
                front.touched.append(slot)
            }
            received.recycle(id)
        }
        if connection.isClosing { return finishClosing(connection) }
        if completion.result == 0 || (completion.failure.map { $0 != ENOBUFS && $0 != ECANCELED } ?? false) {
            return close(connection)
        }
        holdBackIfNeeded(connection)
        if !connection.isReceiving, !connection.isHeldBack { starved.append(connection) }
    }

    /// A session that waits with a full buffer receives no more until it goes on.
    private func holdBackIfNeeded(_ connection: Connection) {
        if !front.wantsInput(connection.session) { holdBack(connection) }
    }

    /// Receives no more until `send` finds that the session wants input again.
    func holdBack(_ connection: Connection) {
        guard !connection.isHeldBack else { return }
        connection.isHeldBack = true
        if connection.isReceiving {
            ring.cancel(EventLoop.token(.receive, connection.slot), EventLoop.token(.cancel))
        }
    }

    /// Receives again where receiving ended; after the sessions have run, so that buffers are back.
    func rearm() {
        if starved.isEmpty { return }
        swap(&starved, &rearmed)
        for connection in rearmed where !connection.isReceiving && !connection.isClosing {
            if !connection.isHeldBack { receive(connection) }
        }
        rearmed.removeAll(keepingCapacity: true)
    }

    // MARK: Sending

    /// Hands new replies to the kernel. A reply that fits the socket's buffer is sent within the
    /// submit and announced by nothing.
    func sendReplies() {
        guard !front.touched.isEmpty else { return }
        swap(&touched, &front.touched)
        let file = server.state.appendOnly!
        mark = file.holdsReplies ? file.log!.mark : 0
        if mark > 0, mark <= file.log!.durable { mark = 0 }
        for slot in touched {
            guard let connection = connections[Int(slot)], !connection.isClosing else { continue }
            send(connection)
        }
        touched.removeAll(keepingCapacity: true)
    }

    private func send(_ connection: Connection) {
        let session = connection.session
        if session.isKilled { return close(connection) }
        let limit = outputLimit(connection).hardBytes
        if limit > 0, connection.waitingBytes > Int(limit) {
            return closeSlowReader(connection)
        }
        if connection.isHeldBack, front.wantsInput(session) {
            connection.isHeldBack = false
            if !connection.isReceiving { starved.append(connection) }
        }
        guard !connection.isSending, connection.sending.isEmpty else { return }
        guard !session.output.isEmpty else {
            if session.closesAfterReply { close(connection) }
            return
        }
        swap(&connection.sending, &session.output)
        session.unsentBytes = connection.sending.count
        front.outputBytes &+= UInt64(connection.sending.count)
        if mark > 0 {
            connection.heldMark = mark
            held.append(connection)
            return front.setHolding(true)
        }
        sendSilently(connection)
    }

    /// Sends replies that wait no more.
    func releaseReplies() {
        guard let first = held.first else { return }
        let durable = server.state.appendOnly.log!.durable
        guard first.heldMark <= durable || !server.state.appendOnly.holdsReplies else { return }
        while let connection = held.first,
            connection.heldMark <= durable || !server.state.appendOnly.holdsReplies {
            _ = held.popFirst()
            if !connection.isClosing { sendSilently(connection) }
        }
        front.setHolding(!held.isEmpty)
    }

    private func sendSilently(_ connection: Connection) {
        // More than one send takes goes on with what the silent one leaves: see `advance`.
        let length = min(connection.sending.count, Ring.sendLimit)
        connection.silentResult = Int32(length)
        ring.sendSilently(
            connection.descriptor, connection.sending.bytes, length: length,
            EventLoop.token(.silentSend, connection.slot))
        silent.append(connection)
    }

    /// The submit is over: silent sends without a completion have gone out whole.
    func settleSilentSends() {
        if silent.isEmpty { return }
        swap(&silent, &settled)
        for connection in settled {
            guard let result = connection.silentResult else { continue }
            connection.silentResult = nil
            if connection.isClosing {
                finishClosing(connection)
                continue
            }
            if result < 0, result != -EAGAIN {
                connection.sending.removeAll()
                close(connection)
                continue
            }
            advance(connection, sent: max(0, Int(result)))
        }
        settled.removeAll(keepingCapacity: true)
    }

    func sent(_ slot: UInt32, _ completion: Completion) {
        guard let connection = connections[Int(slot)] else { return }
        connection.isSending = false
        if connection.isClosing { return finishClosing(connection) }
        if completion.result < 0 { return close(connection) }
        advance(connection, sent: Int(completion.result))
    }

    /// Some of the bytes are out: sends the rest, or lets the session go on. It is not closing.
    private func advance(_ connection: Connection, sent: Int) {
        connection.sending.consume(sent)
        connection.session.unsentBytes = connection.sending.count
        if connection.overLimitSince != nil, isWithinSoftLimit(connection) { connection.overLimitSince = nil }
        if !connection.sending.isEmpty {
            connection.isSending = true
            ring.send(
                connection.descriptor, connection.sending.bytes, length: connection.sending.count,
                EventLoop.token(.send, connection.slot))
            return
        }
        connection.sending.shrink(to: 64 << 10)
        let session = connection.session
        if session.wait == .output { front.outputDrained(session) }
        if !session.output.isEmpty || session.closesAfterReply || connection.isHeldBack {
            front.touched.append(connection.slot)
        }
    }

    // MARK: Closing

    /// More replies wait for the client than client-output-buffer-limit allows.
    func closeSlowReader(_ connection: Connection) {
        server.log.write(
            .warning, "client \(connection.session.id) closed: client-output-buffer-limit")
        close(connection)
    }

    func close(_ connection: Connection) {
        guard !connection.isClosing else { return }
        connection.isClosing = true
        front.close(connection.session)
        if connection.isIdle { return finishClosing(connection) }
        ring.cancelAll(on: connection.descriptor, EventLoop.token(.cancel))
    }

    /// The kernel has let go of the connection's memory: the slot and the descriptor are free.
    private func finishClosing(_ connection: Connection) {
        guard connection.isIdle, connections[Int(connection.slot)] === connection else { return }
        connections[Int(connection.slot)] = nil
        front.forget(connection.session)
        Descriptors.close(connection.descriptor)
        server.connectionEnded()
    }
}
