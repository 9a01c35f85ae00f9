import Glibc
import IOUring
import Testing

@Suite(.needsRing) struct SocketTests {
    // Method: three peers connect to one armed accept; it completes three times and stays armed.
    @Test func acceptGoesOn() throws {
        var bench = try Bench()
        let listener = try Descriptors.listen(host: "127.0.0.1", port: 0)
        bench.ring.accept(listener, token(1))
        try bench.ring.submit()
        let peers = try (0..<3).map { _ in try dial(listener) }
        let found = try bench.completions(3)
        #expect(found.count == 3)
        for completion in found {
            #expect(completion.token == token(1) && completion.hasMore)
            try #require(completion.result >= 0)
            #expect(fcntl(completion.result, F_GETFD) == FD_CLOEXEC)
            try Descriptors.setNoDelay(completion.result)
            try Descriptors.setKeepAlive(completion.result, seconds: 300)
            bench.ring.close(completion.result, token(2))
        }
        #expect(try bench.completions(3).map(\.result) == [0, 0, 0])
        bench.ring.cancel(token(1), token(3))
        let ended = try bench.completions(2)
        #expect(ended.first { $0.token == token(1) }?.failure == ECANCELED)
        #expect(ended.first { $0.token == token(1) }?.hasMore == false)
        for descriptor in peers + [listener] { Descriptors.close(descriptor) }
    }

    // Method: 100 messages through 4 buffers, each recycled before the next is sent; one receive
    // carries them all, every byte in place, and reports the end of the stream without a buffer.
    @Test func receiveRecyclesBuffers() throws {
        var bench = try Bench()
        var buffers = try ProvidedBuffers(bench.ring, group: BufferGroup(5), count: 4, size: 256)
        let connection = try Connection()
        bench.ring.receive(connection.served, group: buffers.group, token(1))
        try bench.ring.submit()
        for round in 0..<100 {
            let sent = [UInt8]((0..<200).map { UInt8(truncatingIfNeeded: $0 &* round) })
            #expect(Glibc.send(connection.peer, sent, sent.count, 0) == 200)
            let found = try bench.completions(1)
            let completion = try #require(found.first)
            #expect(completion.result == 200 && completion.hasMore)
            let id = try #require(completion.bufferID)
            #expect(UnsafeRawPointer(buffers.address(of: id)).bytes(200) == sent)
            buffers.recycle(id)
        }
        Glibc.shutdown(connection.peer, Int32(SHUT_WR))
        let end = try #require(try bench.completions(1).first)
        #expect(end.result == 0 && !end.hasMore && end.bufferID == nil)
    }

    // Method: send 4096 bytes at 4 buffers of 64 without recycling: 4 buffers come full, then
    // ENOBUFS ends the receive. Recycling and arming anew, as often as needed, yields all bytes in
    // order.
    @Test func emptyGroupEndsTheReceive() throws {
        var bench = try Bench()
        var buffers = try ProvidedBuffers(bench.ring, group: BufferGroup(0), count: 4, size: 64)
        let connection = try Connection()
        let sent = (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 3) }
        #expect(Glibc.send(connection.peer, sent, sent.count, 0) == sent.count)
        var received: [UInt8] = []
        let rounds = sent.count / 256
        for round in 1...rounds {
            bench.ring.receive(connection.served, group: buffers.group, token(1))
            // In the last round nothing is left to want a fifth buffer.
            let failures = round < rounds ? [0 - ENOBUFS] : []
            let found = try bench.completions(4 + failures.count)
            try #require(found.map(\.result) == [64, 64, 64, 64] + failures)
            #expect(found.map(\.hasMore) == [true, true, true, true] + failures.map { _ in false })
            for completion in found.prefix(4) {
                let id = try #require(completion.bufferID)
                received += UnsafeRawPointer(buffers.address(of: id)).bytes(64)
                buffers.recycle(id)
            }
        }
        #expect(received == sent)
    }

    // Method: two groups of one ring are distinct, a second of the same name is refused.
    @Test func groupsAreNamed() throws {
        let ring = try Ring(entries: 8)
        let first = try ProvidedBuffers(ring, group: BufferGroup(1), count: 2, size: 64)
        let other = try ProvidedBuffers(ring, group: BufferGroup(2), count: 2, size: 64)
        let error = #expect(throws: RingError.self) {
            _ = try ProvidedBuffers(ring, group: BufferGroup(1), count: 2, size: 64)
        }
        #expect(error == RingError(.registerBufferGroup, EEXIST))
        #expect(first.group != other.group)
    }

    // Method: cancel a receive that waits, by token and by descriptor; it ends with ECANCELED and
    // takes no buffer.
    @Test(arguments: [false, true]) func cancelEndsAReceive(byDescriptor: Bool) throws {
        var bench = try Bench()
        let buffers = try ProvidedBuffers(bench.ring, group: BufferGroup(0), count: 2, size: 64)
        let connection = try Connection()
        bench.ring.receive(connection.served, group: buffers.group, token(1))
        #expect(try bench.ready().isEmpty)
        if byDescriptor {
            bench.ring.cancelAll(on: connection.served, token(2))
        } else {
            bench.ring.cancel(token(1), token(2))
        }
        let found = try bench.completions(2)
        let ended = try #require(found.first { $0.token == token(1) })
        #expect(ended.failure == ECANCELED && !ended.hasMore && ended.bufferID == nil)
        #expect(found.first { $0.token == token(2) }?.result == 1)
    }

    // Method: a short silent send and a no-op: the peer gets the bytes, and only
    // the no-op completes.
    @Test func silentSendCompletesOnlyOnTrouble() throws {
        var bench = try Bench()
        let connection = try Connection()
        let sent = Array("+PONG\r\n".utf8)
        sent.withUnsafeBytes {
            bench.ring.sendSilently(connection.served, $0.baseAddress!, length: $0.count, token(1))
            bench.ring.noOperation(token(2))
            _ = try? bench.ring.submit()
        }
        var received = [UInt8](repeating: 0, count: 64)
        #expect(becomesReadable(connection.peer))
        let count = recv(connection.peer, &received, received.count, Int32(MSG_DONTWAIT))
        #expect(count == sent.count && Array(received.prefix(max(count, 0))) == sent)
        #expect(try bench.completions(1).map(\.token) == [token(2)])
        #expect(try bench.ready().isEmpty)
    }

    // Method: 16 MiB silently at a peer that does not read: the completion tells how much went, a
    // second silent send tells EAGAIN, and plain sends deliver the rest while the peer reads.
    @Test func largeSendContinues() throws {
        var bench = try Bench()
        let connection = try Connection()
        let total = 16 << 20
        let sent = [UInt8](unsafeUninitializedCapacity: total) { memory, count in
            for index in 0..<total { memory[index] = UInt8(truncatingIfNeeded: index &* 31 >> 4) }
            count = total
        }
        try sent.withUnsafeBytes { bytes throws in
            let start = bytes.baseAddress!
            bench.ring.sendSilently(connection.served, start, length: total, token(1))
            let first = try #require(try bench.completions(1).first)
            var done = Int(first.result)
            try #require(done > 0 && done < total)
            bench.ring.sendSilently(connection.served, start + done, length: total - done, token(2))
            #expect(try bench.completions(1).map(\.failure) == [EAGAIN])
            let peer = connection.peer
            let intact = Outcome<Bool>()
            let reader = OtherThread { intact.value = drain(peer, total) }
            while done < total {
                bench.ring.send(connection.served, start + done, length: total - done, token(3))
                let next = try #require(try bench.completions(1).first)
                try #require(next.result > 0)
                done += Int(next.result)
            }
            reader.join()
            #expect(intact.value == true)
        }
    }

    // Method: send to a peer that is gone; it fails with EPIPE and this process goes on. A
    // shut-down socket gives the peer the end of the stream.
    @Test func sendToNobodyFails() throws {
        var bench = try Bench()
        let connection = try Connection()
        bench.ring.shutDown(connection.served, Int32(SHUT_WR), token(1))
        #expect(try bench.completions(1).map(\.result) == [0])
        var byte: UInt8 = 0
        try #require(becomesReadable(connection.peer))
        #expect(recv(connection.peer, &byte, 1, 0) == 0)
        bench.ring.send(connection.served, &byte, length: 1, token(2))
        #expect(try bench.completions(1).map(\.failure) == [EPIPE])
        bench.ring.sendSilently(connection.served, &byte, length: 1, token(3))
        #expect(try bench.completions(1).map(\.failure) == [EPIPE])
    }

    // Method: listen on IPv4, IPv6 and a path; a taken port, an unknown host, a long path and a
    // path that is no socket are refused; a socket file left behind is replaced.
    @Test func listenersOpenAndRefuse() throws {
        let first = try Descriptors.listen(host: "*", port: 0)
        let port = try Descriptors.port(of: first)
        let taken = #expect(throws: SystemError.self) {
            _ = try Descriptors.listen(host: "127.0.0.1", port: port)
        }
        #expect(taken?.code == EADDRINUSE)
        let second = try? Descriptors.listen(host: "::1", port: 0)
        #expect(throws: SystemError.self) { try Descriptors.listen(host: "no such host", port: 0) }
        let path = "iouring-\(getpid())-socket.tmp"
        let local = try Descriptors.listen(path: path, permissions: 0o700)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o700)
        let used = #expect(throws: SystemError.self) {
            _ = try Descriptors.listen(path: path, permissions: 0o700)
        }
        #expect(used?.code == EADDRINUSE)
        Descriptors.close(local)
        let again = try Descriptors.listen(path: path, permissions: 0o600)
        unlink(path)
        Descriptors.close(try Descriptors.open(path, direct: false))
        let file = #expect(throws: SystemError.self) {
            _ = try Descriptors.listen(path: path, permissions: 0o700)
        }
        #expect(file?.code == EEXIST)
        unlink(path)
        let long = #expect(throws: SystemError.self) {
            _ = try Descriptors.listen(path: String(repeating: "x", count: 108), permissions: 0o700)
        }
        #expect(long?.code == ENAMETOOLONG)
        for descriptor in [first, again] { Descriptors.close(descriptor) }
        if let second { Descriptors.close(second) }
    }
}

/// Reads `total` bytes and compares them with the pattern of `largeSendContinues`.
private func drain(_ socket: Int32, _ total: Int) -> Bool {
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    var position = 0
    while position < total {
        let count = recv(socket, &chunk, chunk.count, 0)
        guard count > 0 else { return false }
        for index in 0..<count {
            let expected = UInt8(truncatingIfNeeded: (position + index) &* 31 >> 4)
            guard chunk[index] == expected else { return false }
        }
        position += count
    }
    return true
}
