import Glibc
import IOUring
import Testing

/// Why this kernel refuses a ring, nil when it does not.
let refusal: String? = {
    do throws(RingError) {
        _ = try Ring(entries: 8)
        return nil
    } catch { return error.description }
}()

extension Trait where Self == ConditionTrait {
    /// Skips, with the reason, where there is no io_uring.
    static var needsRing: Self { .enabled(if: refusal == nil, "\(refusal ?? "")") }
}

func token(_ kind: UInt8, _ slot: UInt32 = 0) -> CompletionToken {
    CompletionToken(kind: kind, generation: 1, slot: slot)
}

let second: UInt64 = 1_000_000_000

/// A ring with its batch, waiting for a known number of completions.
struct Bench: ~Copyable {
    var ring: Ring
    var batch = CompletionBatch()

    init(entries: UInt32 = 64, perEntry: UInt32 = 8) throws {
        ring = try Ring(entries: entries, options: RingOptions(completionsPerEntry: perEntry))
    }

    /// Submits and returns all completions that come until there are `count`; fewer after a while.
    mutating func completions(_ count: Int) throws -> [Completion] {
        var found: [Completion] = []
        var attempts = 0
        while found.count < count && attempts < 20 {
            try ring.submitAndWait(minimum: 1, timeoutNanoseconds: second / 2)
            if reap(&found) == 0 { attempts += 1 }
        }
        return found
    }

    /// What the kernel has to say now, without waiting.
    mutating func ready() throws -> [Completion] {
        try ring.flush()
        var found: [Completion] = []
        while reap(&found) > 0 {}
        return found
    }

    private mutating func reap(_ found: inout [Completion]) -> Int {
        let count = ring.reap(into: &batch)
        for index in 0..<count { found.append(batch[index]) }
        return count
    }
}

/// A connected pair of TCP sockets over loopback: what we serve and what the peer holds.
struct Connection: ~Copyable {
    let served: Int32
    let peer: Int32

    init() throws {
        let listener = try Descriptors.listen(host: "127.0.0.1", port: 0)
        defer { Descriptors.close(listener) }
        peer = try dial(listener)
        served = Glibc.accept(listener, nil, nil)
    }

    deinit {
        Descriptors.close(served)
        Descriptors.close(peer)
    }
}

/// Connects to a listener on 127.0.0.1.
func dial(_ listener: Int32) throws -> Int32 {
    let peer = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = try Descriptors.port(of: listener).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let status = withUnsafeBytes(of: address) {
        connect(peer, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
    }
    guard status == 0 else { throw SystemError(errno, "dial") }
    return peer
}

/// Waits until a descriptor can be read; false after ten seconds.
func becomesReadable(_ descriptor: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&wanted, 1, 10_000) == 1
}

/// What another thread found, to be judged by the test once it has joined: an expectation that
/// fails on a thread of its own is not charged to any test.
final class Outcome<Value>: @unchecked Sendable {
    var value: Value?
}

/// Runs `body` on a thread of its own to its end.
final class OtherThread {
    private let body: @Sendable () -> Void
    private var thread = pthread_t()

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
        pthread_create(&thread, nil, { context in
            Unmanaged<OtherThread>.fromOpaque(context!).takeRetainedValue().body()
            return nil
        }, Unmanaged.passRetained(self).toOpaque())
    }

    func join() { pthread_join(thread, nil) }
}

/// A file in the working directory, which is on a real disk, already unlinked.
func temporaryFile(direct: Bool = true) throws -> Int32 {
    let path = "iouring-\(getpid())-\(UInt64.random(in: 0 ... .max)).tmp"
    defer { unlink(path) }
    return try Descriptors.open(path, direct: direct)
}

extension UnsafeRawPointer {
    func bytes(_ count: Int) -> [UInt8] { Array(UnsafeRawBufferPointer(start: self, count: count)) }
}
