import CEpoll
import Glibc

struct Plan {
    var host = "127.0.0.1"
    var port: UInt16 = 6379
    var clients = 50
    var pipeline = 1
    var size = 500
    /// Share of requests that are SET; the others are GET.
    var setShare = 0.0
    var requests = 1_000_000
    var seconds = 0.0
    var verify = true
    /// memcached's text protocol instead of RESP.
    var memcached = false
    var seed: UInt64 = 1
    /// Requests a second in all; 0: as fast as replies come.
    var rate = 0.0
    /// A request is sent for each reply that comes, in place of a whole pipeline for a whole one.
    var slides = false
}

/// What came of a run.
struct Outcome {
    var requests = 0
    var misses = 0
    var wrong = 0
    var errors = 0
    var firstError = ""
    var seconds = 0.0
    var latency = Histogram()
}

/// One thread, many connections, each with a pipeline of requests in flight.
final class Load {
    final class Client {
        let socket: Int32
        var output: UnsafeMutableRawPointer
        var outputCount = 0
        var outputSent = 0
        var input: UnsafeMutableRawPointer
        var inputCount = 0
        /// Key of each request in flight, -1 - key for SET.
        var keys: [Int] = []
        /// When each of them was sent.
        var sentAt: [UInt64] = []
        var answered = 0
        init(_ socket: Int32, _ room: Int) {
            self.socket = socket
            output = .allocate(byteCount: room, alignment: 16)
            input = .allocate(byteCount: room * 2, alignment: 16)
        }
    }

    let plan: Plan
    var distribution: Distribution
    private var random: Generator
    private var clients: [Client] = []
    private let epoll: Int32
    private let room: Int
    var outcome = Outcome()
    private var issued = 0
    private var startedAt: UInt64 = 0
    private var idle: [Client] = []

    init(_ plan: Plan, _ distribution: Distribution) {
        self.plan = plan
        self.distribution = distribution
        random = Generator(state: plan.seed)
        room = plan.pipeline * (plan.size + 96) + 4096
        epoll = tierload_epoll()
        for _ in 0..<plan.clients { clients.append(connect()) }
    }

    private func connect() -> Client {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = plan.port.bigEndian
        inet_pton(AF_INET, plan.host, &address.sin_addr)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { fail("cannot connect to \(plan.host):\(plan.port)") }
        var one: Int32 = 1
        setsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        _ = fcntl(fd, F_SETFL, O_NONBLOCK)
        let client = Client(fd, room)
        tierload_epoll_add(epoll, fd, UInt32(clients.count))
        return client
    }

    static func now() -> UInt64 { tierload_now() }

    private var isOver: Bool {
        if plan.seconds > 0 { return Double(Load.now() - startedAt) >= plan.seconds * 1e9 }
        return issued >= plan.requests
    }

    func run() -> Outcome {
        startedAt = Load.now()
        for client in clients { start(client) }
        var ready = [UInt32](repeating: 0, count: 256)
        while outcome.requests < issued || !isOver {
            let wait: Int32 = idle.isEmpty ? 1000 : 0
            let n = tierload_epoll_wait(epoll, &ready, 256, wait)
            for i in 0..<Int(max(0, n)) { receive(clients[Int(ready[i])]) }
            if !idle.isEmpty { startDue() }
            if Load.now() - startedAt > 3_600_000_000_000 { fail("an hour has passed") }
        }
        outcome.seconds = Double(Load.now() - startedAt) / 1e9
        for client in clients { close(client.socket) }
        return outcome
    }

    /// With a fixed rate a client starts when its turn has come, and its latency counts from then.
    private func startDue() {
        while let client = idle.first {
            let due = startedAt + UInt64(Double(issued) / plan.rate * 1e9)
            if isOver {
                idle.removeAll()
                return
            }
            if Load.now() < due { return }
            idle.removeFirst()
            send(client, at: due)
        }
    }

    private func start(_ client: Client) {
        if isOver { return }
        if plan.rate > 0 {
            idle.append(client)
            return
        }
        send(client, at: Load.now())
    }

    private func send(_ client: Client, at time: UInt64) {
        client.keys.removeFirst(client.answered)
        client.sentAt.removeFirst(client.answered)
        client.answered = 0
        client.outputCount = 0
        client.outputSent = 0
        while client.keys.count < plan.pipeline {
            if plan.seconds == 0, issued >= plan.requests { break }
            let key = distribution.next(&random, issued)
            let isSet = plan.setShare > 0 && (plan.setShare >= 1 || random.fraction() < plan.setShare)
            append(client, key: key, isSet: isSet)
            client.keys.append(isSet ? -1 - key : key)
            client.sentAt.append(time)
            issued += 1
        }
        flush(client)
    }

    private func append(_ client: Client, key: Int, isSet: Bool) {
        var out = client.output + client.outputCount
        let begin = out
        func put(_ text: StaticString) {
            out.copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
            out += text.utf8CodeUnitCount
        }
        if plan.memcached {
            if isSet { put("set key:") } else { put("get key:") }
        } else if isSet {
            put("*3\r\n$3\r\nSET\r\n$16\r\nkey:")
        } else {
            put("*2\r\n$3\r\nGET\r\n$16\r\nkey:")
        }
        var rest = key
        for at in stride(from: 11, through: 0, by: -1) {
            out.storeBytes(of: UInt8(48 + rest % 10), toByteOffset: at, as: UInt8.self)
            rest /= 10
        }
        out += 12
        if plan.memcached, isSet { put(" 0 0 ") } else { put("\r\n") }
        if isSet {
            if !plan.memcached { put("$") }
            for digit in String(plan.size).utf8 {
                out.storeBytes(of: digit, as: UInt8.self)
                out += 1
            }
            put("\r\n")
            Content.fill(out, key: key, size: plan.size)
            out += plan.size
            put("\r\n")
        }
        client.outputCount += out - begin
    }

    private func flush(_ client: Client) {
        while client.outputSent < client.outputCount {
            let n = Glibc.send(
                client.socket, client.output + client.outputSent, client.outputCount - client.outputSent,
                Int32(MSG_NOSIGNAL))
            if n < 0 {
                if errno == EAGAIN {
                    receive(client)
                    sched_yield()
                    continue
                }
                fail("send: \(String(cString: strerror(errno)))")
            }
            client.outputSent += n
        }
    }

    private func receive(_ client: Client) {
        let n = recv(client.socket, client.input + client.inputCount, room * 2 - client.inputCount, 0)
        if n == 0 { fail("the server closed a connection") }
        if n < 0 {
            if errno == EAGAIN { return }
            fail("receive: \(String(cString: strerror(errno)))")
        }
        client.inputCount += n
        let now = Load.now()
        var at = 0
        while client.answered < client.keys.count {
            let used = reply(client, client.input + at, client.inputCount - at, client.keys[client.answered])
            if used == 0 { break }
            at += used
            let sentAt = client.sentAt[client.answered]
            client.answered += 1
            outcome.requests += 1
            outcome.latency.record(now > sentAt ? now - sentAt : 0)
        }
        if at > 0 {
            memmove(client.input, client.input + at, client.inputCount - at)
            client.inputCount -= at
        }
        let wanted = plan.slides ? min(1, client.keys.count) : client.keys.count
        if client.answered >= wanted, client.outputSent == client.outputCount { start(client) }
    }

    /// Checks one reply; bytes it took, 0 if it is not whole.
    private func reply(_ client: Client, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ key: Int) -> Int {
        guard count > 0, let end = memchr(bytes, 10, count) else { return 0 }
        let line = end - UnsafeMutableRawPointer(bytes) + 1
        if plan.memcached { return memcachedReply(client, bytes, count, line, key) }
        switch bytes.load(as: UInt8.self) {
        case 43: return line
        case 36:
            var length = 0, at = 1
            if bytes.load(fromByteOffset: 1, as: UInt8.self) == 45 {
                if key >= 0 { outcome.misses += 1 }
                return line
            }
            while at < line - 2 {
                length = length * 10 + Int(bytes.load(fromByteOffset: at, as: UInt8.self)) - 48
                at += 1
            }
            if count < line + length + 2 { return 0 }
            if plan.verify, length != plan.size || !Content.matches(bytes + line, key: key, size: length) {
                outcome.wrong += 1
            }
            return line + length + 2
        default:
            note(error: bytes, line)
            return line
        }
    }

    private func note(error bytes: UnsafeRawPointer, _ line: Int) {
        outcome.errors += 1
        guard outcome.firstError.isEmpty else { return }
        outcome.firstError = String(
            decoding: UnsafeRawBufferPointer(start: bytes, count: line - 2), as: UTF8.self)
    }

    /// The same for memcached's text protocol: STORED, END, or VALUE key flags bytes, data, END.
    private func memcachedReply(
        _ client: Client, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ line: Int, _ key: Int
    ) -> Int {
        switch bytes.load(as: UInt8.self) {
        case UInt8(ascii: "E") where line == 5:
            outcome.misses += 1
            return line
        case UInt8(ascii: "V"):
            let whole = line + plan.size + 2 + 5
            if count < whole { return 0 }
            if plan.verify, !Content.matches(bytes + line, key: key, size: plan.size) { outcome.wrong += 1 }
            return whole
        case UInt8(ascii: "S") where line == 8: return line
        default:
            note(error: bytes, line)
            return line
        }
    }
}

func fail(_ text: String) -> Never {
    let line = Array("tierload: \(text)\n".utf8)
    write(2, line, line.count)
    exit(1)
}
