import CEpoll
import Glibc

/// One socket, what is to be sent on it, and the requests whose replies have not come.
final class Connection {
    struct Pending {
        var command: Int
        var expected: ReplyReader.Expected
        /// When it was sent, or, with a fixed rate, should have been.
        var since: UInt64
    }

    let socket: Int32
    let number: UInt32
    private var output: UnsafeMutableRawPointer
    private var outputRoom: Int
    private var outputCount = 0
    private var outputSent = 0
    private var input: UnsafeMutableRawPointer
    private var inputRoom = 256 << 10
    private var inputCount = 0
    private var wantsWrite = false
    /// Requests in flight, from `answered` on.
    private(set) var pending: [Pending] = []
    private(set) var answered = 0
    /// Requests begun: which of the mix comes next when they are sent in turn.
    private(set) var begun = 0
    /// Keys that were missing and are to be stored next.
    var fills: [(key: Int, size: Int)] = []

    var inFlight: Int { pending.count - answered }

    init(host: String, port: UInt16, number: UInt32) throws(LoadError) {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        self.number = number
        outputRoom = 64 << 10
        output = .allocate(byteCount: outputRoom, alignment: 16)
        input = .allocate(byteCount: inputRoom, alignment: 16)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        guard inet_pton(AF_INET, host, &address.sin_addr) == 1 else {
            throw LoadError("not an address: \(host)")
        }
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw LoadError("cannot connect to \(host):\(port): \(LoadError.system)") }
        var one: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        _ = fcntl(socket, F_SETFL, O_NONBLOCK)
    }

    deinit {
        close(socket)
        output.deallocate()
        input.deallocate()
    }

    /// Appends a request of at most `room` bytes; `write` returns the place behind it.
    func append(
        _ request: Pending, room: Int, _ write: (UnsafeMutableRawPointer) -> UnsafeMutableRawPointer
    ) {
        if outputCount + room > outputRoom { grow(&output, &outputRoom, outputCount, outputCount + room) }
        outputCount = write(output + outputCount) - output
        if answered == pending.count {
            pending.removeAll(keepingCapacity: true)
            answered = 0
        }
        pending.append(request)
        begun += 1
    }

    private func grow(
        _ memory: inout UnsafeMutableRawPointer, _ room: inout Int, _ used: Int, _ wanted: Int
    ) {
        room = max(room * 2, wanted)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: room, alignment: 16)
        larger.copyMemory(from: memory, byteCount: used)
        memory.deallocate()
        memory = larger
    }

    /// Sends what the socket takes; the rest goes when it can be written to.
    func flush(_ epoll: Int32) throws(LoadError) {
        while outputSent < outputCount {
            let n = send(socket, output + outputSent, outputCount - outputSent, Int32(MSG_NOSIGNAL))
            if n < 0 {
                guard errno == EAGAIN else { throw LoadError("send: \(LoadError.system)") }
                if !wantsWrite { tierload_epoll_want_write(epoll, socket, number, 1) }
                wantsWrite = true
                return
            }
            outputSent += n
        }
        outputSent = 0
        outputCount = 0
        if wantsWrite { tierload_epoll_want_write(epoll, socket, number, 0) }
        wantsWrite = false
    }

    var isSent: Bool { outputCount == 0 }

    /// Takes what has come and hands over each reply that is whole.
    func receive(
        _ reader: ReplyReader,
        _ take: (Pending, ReplyReader.Kind, UnsafeRawBufferPointer) -> Void
    ) throws(LoadError) {
        let n = recv(socket, input + inputCount, inputRoom - inputCount, 0)
        if n == 0 { throw LoadError("the server closed a connection") }
        if n < 0 {
            if errno == EAGAIN { return }
            throw LoadError("receive: \(LoadError.system)")
        }
        inputCount += n
        var at = 0
        while answered < pending.count {
            let request = pending[answered]
            let (length, kind) = reader.read(input + at, inputCount - at, request.expected)
            if length == 0 { break }
            answered += 1
            take(request, kind, UnsafeRawBufferPointer(start: input + at, count: length))
            at += length
        }
        if answered == pending.count, at < inputCount { throw LoadError("a reply nobody asked for") }
        if at > 0 {
            memmove(input, input + at, inputCount - at)
            inputCount -= at
        } else if inputCount == inputRoom {
            grow(&input, &inputRoom, inputCount, 0)
        }
        if answered > 4096 {
            pending.removeFirst(answered)
            answered = 0
        }
    }
}

/// Why a run ended before its time.
struct LoadError: Error {
    let text: String
    init(_ text: String) { self.text = text }
    static var system: String { String(cString: strerror(errno)) }
}
