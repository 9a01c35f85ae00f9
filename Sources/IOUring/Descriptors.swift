import CSystem
import Glibc

/// The system calls that make the descriptors a ring works on; called at start, never per request.
///
/// Every descriptor is close-on-exec and belongs to the caller, who closes it.
public enum Descriptors {
    /// Turns a status of -errno into an error.
    private static func checked(_ status: Int32, _ operation: String) throws(SystemError) -> Int32 {
        guard status >= 0 else { throw SystemError(0 &- status, operation) }
        return status
    }

    /// Turns the -1 of a system call into an error.
    private static func check(_ status: Int32, _ operation: String) throws(SystemError) {
        guard status == 0 else { throw SystemError(errno, operation) }
    }

    /// Closes a descriptor; errors are of no use to anyone here.
    public static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }
}

// MARK: - Sockets

extension Descriptors {
    /// Opens a TCP socket that listens on `host` and `port`.
    ///
    /// `host` is an IPv4 or IPv6 address or a name (its first address); "*" is every IPv4 address,
    /// "::" every IPv6 address and only those. Port 0 lets the kernel choose: see `port(of:)`.
    /// Errors: `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`; `EINVAL` – the host is not known.
    public static func listen(
        host: String, port: UInt16, backlog: Int32 = 511
    ) throws(SystemError) -> Int32 {
        let operation = "listen on \(host) port \(port)"
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        if host == "*" { hints.ai_family = AF_INET }
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host == "*" ? nil : host, String(port), &hints, &found) == 0,
            let address = found
        else { throw SystemError(EINVAL, operation + ", unknown host") }
        defer { freeaddrinfo(address) }
        let family = address.pointee.ai_family
        let socket = try checked(csystem_stream_socket(family), operation)
        do throws(SystemError) {
            _ = try checked(csystem_socket_option(socket, SOL_SOCKET, SO_REUSEADDR, 1), operation)
            if family == AF_INET6 { _ = try checked(csystem_set_ipv6_only(socket), operation) }
            try check(
                bind(socket, address.pointee.ai_addr, address.pointee.ai_addrlen), operation)
            try check(Glibc.listen(socket, backlog), operation)
        } catch {
            close(socket)
            throw error
        }
        return socket
    }

    /// Opens a Unix socket that listens at `path`, replacing a socket file left by a dead server.
    ///
    /// Units:  `permissions` as for chmod, e.g. 0o700.
    /// Errors: `ENAMETOOLONG` – above 107 bytes. `EEXIST` – the path is no socket.
    ///         `EADDRINUSE` – someone is listening there.
    public static func listen(
        path: String, permissions: UInt32, backlog: Int32 = 511
    ) throws(SystemError) -> Int32 {
        let operation = "listen on \(path)"
        let address = try unixAddress(path, operation)
        let socket = try checked(csystem_stream_socket(AF_UNIX), operation)
        do throws(SystemError) {
            try removeDeadSocket(path, address, operation)
            try check(withSocketAddress(address) { bind(socket, $0, $1) }, operation)
            try check(chmod(path, permissions), operation)
            try check(Glibc.listen(socket, backlog), operation)
        } catch {
            close(socket)
            throw error
        }
        return socket
    }

    private static func removeDeadSocket(
        _ path: String, _ address: sockaddr_un, _ operation: String
    ) throws(SystemError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw SystemError(EEXIST, operation) }
        let probe = try checked(csystem_stream_socket(AF_UNIX), operation)
        defer { close(probe) }
        let refused = withSocketAddress(address) { connect(probe, $0, $1) } != 0
        guard refused, errno == ECONNREFUSED else { throw SystemError(EADDRINUSE, operation) }
        try check(unlink(path), operation)
    }

    private static func unixAddress(
        _ path: String, _ operation: String
    ) throws(SystemError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard path.utf8.count < room else { throw SystemError(ENAMETOOLONG, operation) }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return address
    }

    private static func withSocketAddress(
        _ address: sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        withUnsafeBytes(of: address) {
            // Every sockaddr begins with the family; the kernel reads the rest by it.
            let base = $0.baseAddress!.assumingMemoryBound(to: sockaddr.self)
            return body(base, socklen_t($0.count))
        }
    }

    /// The port a TCP socket is bound to.
    public static func port(of socket: Int32) throws(SystemError) -> UInt16 {
        var address = sockaddr_in6()
        var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        let status = withUnsafeMutableBytes(of: &address) {
            getsockname(socket, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &length)
        }
        try check(status, "get the port of a socket")
        // sockaddr_in and sockaddr_in6 keep the port in the same place.
        return UInt16(bigEndian: address.sin6_port)
    }

    /// Sends small replies at once instead of gathering them (TCP_NODELAY).
    public static func setNoDelay(_ socket: Int32) throws(SystemError) {
        _ = try checked(csystem_set_no_delay(socket), "set TCP_NODELAY")
    }

    /// Probes an idle peer after `seconds`, as Redis does for tcp-keepalive; dead after twice that.
    public static func setKeepAlive(_ socket: Int32, seconds: Int32) throws(SystemError) {
        _ = try checked(csystem_set_keepalive(socket, seconds), "set TCP keepalive")
    }
}

// MARK: - Files

extension Descriptors {
    /// Opens a file to read and write, creating it if need be, past the page cache if `direct`.
    ///
    /// Errors: `EINVAL` – the file system has no O_DIRECT: `direct: false`, or another file system.
    public static func open(
        _ path: String, direct: Bool = true, permissions: UInt32 = 0o600
    ) throws(SystemError) -> Int32 {
        let flags = O_RDWR | O_CREAT | O_CLOEXEC | (direct ? csystem_o_direct : 0)
        let descriptor = Glibc.open(path, flags, permissions)
        guard descriptor >= 0 else {
            throw SystemError(errno, "open \(path)\(direct ? " with O_DIRECT" : "")")
        }
        return descriptor
    }

    /// Takes the file for this process until the descriptor is closed, here and in forked children. Tries
    /// for `seconds`: the kernel gives a ring's files back some time after its process was killed.
    ///
    /// Errors: `EWOULDBLOCK` – another process has it.
    public static func lock(_ descriptor: Int32, seconds: Int = 5) throws(SystemError) {
        for _ in 0..<seconds * 100 {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return }
            guard errno == EWOULDBLOCK else { break }
            usleep(10_000)
        }
        try check(flock(descriptor, LOCK_EX | LOCK_NB), "lock the file; another server may use it")
    }

    /// Sets the length of a file in bytes; new bytes are zero and take no space.
    public static func truncate(_ descriptor: Int32, to length: UInt64) throws(SystemError) {
        try check(ftruncate(descriptor, Int(length)), "set the length of the file to \(length)")
    }

    /// Reserves space for `length` bytes from `offset`, extending the file.
    ///
    /// Errors: `ENOSPC` – the disk is full. `EOPNOTSUPP` – the file system cannot reserve.
    public static func allocate(
        _ descriptor: Int32, at offset: UInt64, length: UInt64
    ) throws(SystemError) {
        try check(
            fallocate(descriptor, 0, Int(offset), Int(length)), "reserve \(length) bytes of disk")
    }

    /// The length of a file in bytes.
    public static func length(of descriptor: Int32) throws(SystemError) -> UInt64 {
        var status = stat()
        try check(fstat(descriptor, &status), "get the length of the file")
        return UInt64(status.st_size)
    }
}

// MARK: - Events and signals

extension Descriptors {
    /// Opens a counter that any thread or signal handler can raise to wake a ring polling it.
    public static func event() throws(SystemError) -> Int32 {
        try checked(csystem_eventfd(), "open an event descriptor")
    }

    /// Raises an event, waking whoever polls it.
    public static func raise(_ event: Int32) {
        var one: UInt64 = 1
        _ = write(event, &one, 8)
    }

    /// Sets an event back; returns how often it was raised since.
    @discardableResult
    public static func clear(_ event: Int32) -> UInt64 {
        var times: UInt64 = 0
        return read(event, &times, 8) == 8 ? times : 0
    }

    /// Opens a descriptor that becomes readable when one of `signals` arrives; see `nextSignal`.
    ///
    /// The signals are blocked in the calling thread and in threads it starts later, so call this
    /// before starting any.
    public static func signals(_ signals: [Int32]) throws(SystemError) -> Int32 {
        try checked(csystem_signalfd(signals, signals.count), "open a signal descriptor")
    }

    /// Takes one pending signal, or nil when there is none.
    public static func nextSignal(_ descriptor: Int32) throws(SystemError) -> Int32? {
        let signal = try checked(csystem_next_signal(descriptor), "read a signal")
        return signal == 0 ? nil : signal
    }
}
