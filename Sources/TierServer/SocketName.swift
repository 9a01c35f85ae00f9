import Glibc
import Primitives

/// Addresses of a connection's two ends as CLIENT LIST shows them.
enum SocketName {
    /// "ip:port" of both ends; "path:0" for Unix sockets.
    static func of(_ descriptor: Int32, unixPath: String?) -> (peer: String, local: String) {
        if let unixPath { return ("\(unixPath):0", "\(unixPath):0") }
        return (name(descriptor, getpeername), name(descriptor, getsockname))
    }

    private static func name(
        _ descriptor: Int32,
        _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutableBytes(of: &storage) { bytes in
            let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
            guard ask(descriptor, address, &length) == 0 else { return "?:0" }
            var host = [CChar](repeating: 0, count: 64), port = [CChar](repeating: 0, count: 16)
            guard getnameinfo(
                address, length, &host, 64, &port, 16, NI_NUMERICHOST | NI_NUMERICSERV) == 0
            else { return "?:0" }
            let ip = text(host)
            return ip.contains(":") ? "[\(ip)]:\(text(port))" : "\(ip):\(text(port))"
        }
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func isLoopback(_ descriptor: Int32) -> Bool {
        let peer = name(descriptor, getpeername)
        return peer.hasPrefix("127.") || peer.hasPrefix("[::1]") || peer.hasPrefix("[::ffff:127.")
    }
}
