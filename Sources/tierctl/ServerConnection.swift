import ArgumentParser
import Glibc
import Primitives
import RESPWire

/// How to reach a server; the letters are redis-cli's.
struct ServerOptions: ParsableArguments {
    @Option(name: [.customShort("h"), .long], help: "Host name or address.") var host = "127.0.0.1"
    @Option(name: .shortAndLong, help: "Port.") var port: UInt16 = 6379
    @Option(name: [.customShort("a"), .customLong("pass")],
        help: "Password; REDISCLI_AUTH in the environment does the same and is not seen by others.")
    var password: String?
    @Option(name: .customLong("user"), help: "User name.") var user: String?
    @Option(name: .shortAndLong, help: "Unix socket instead of host and port.") var socket: String?
}

/// A blocking connection to a server: one request, one reply.
final class ServerConnection {
    struct Failure: Error, CustomStringConvertible { let description: String }

    private let descriptor: Int32
    private var parser = ReplyParser()

    init(_ options: ServerOptions) throws(Failure) {
        if let path = options.socket {
            descriptor = try ServerConnection.unix(path)
        } else {
            descriptor = try ServerConnection.tcp(options)
        }
        let password = options.password ?? getenv("REDISCLI_AUTH").map { String(cString: $0) }
        if let password {
            let words = options.user.map { ["AUTH", $0, password] } ?? ["AUTH", password]
            if case .error(let text) = try ask(words) {
                throw Failure(description: String(decoding: text, as: UTF8.self))
            }
        }
    }

    deinit { close(descriptor) }

    private static func tcp(_ options: ServerOptions) throws(Failure) -> Int32 {
        var hints = addrinfo(), found: UnsafeMutablePointer<addrinfo>?
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        guard getaddrinfo(options.host, String(options.port), &hints, &found) == 0, let found else {
            throw Failure(description: "Could not find the host \(options.host)")
        }
        defer { freeaddrinfo(found) }
        let fd = Glibc.socket(found.pointee.ai_family, found.pointee.ai_socktype, 0)
        guard fd >= 0, connect(fd, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 else {
            throw Failure(description: """
                Could not connect to tierd at \(options.host):\(options.port): \
                \(String(cString: strerror(errno)))
                """)
        }
        return fd
    }

    private static func unix(_ path: String) throws(Failure) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw Failure(description: "The socket path is too long: \(path)")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let fd = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            throw Failure(description: "Could not connect to \(path): \(String(cString: strerror(errno)))")
        }
        return fd
    }

    func ask(_ words: [String]) throws(Failure) -> Reply {
        let request = RequestWriter.bytes(words)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw Failure(description: "The server closed the connection")
        }
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            do throws(ReplyParser.Failure) {
                if let reply = try parser.next() { return reply }
            } catch { throw Failure(description: "The server's reply is not RESP: \(error)") }
            let n = recv(descriptor, &buffer, buffer.count, 0)
            guard n > 0 else { throw Failure(description: "The server closed the connection") }
            parser.append(Array(buffer[0..<n]))
        }
    }

    /// INFO's fields by name.
    func information() throws(Failure) -> [String: String] {
        let reply = try ask(["INFO", "everything"])
        if case .error(let text) = reply { throw Failure(description: String(decoding: text, as: UTF8.self)) }
        var fields: [String: String] = [:]
        for line in (reply.text ?? "").split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { fields[String(parts[0])] = String(parts[1]) }
        }
        return fields
    }
}
