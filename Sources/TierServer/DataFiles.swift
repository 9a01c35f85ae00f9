import CSystem
import Glibc
import IOUring
import RESPFront
import Synchronization
import TieredStore

/// The files in `dir` beside the tier file: opened by any loop, read and written by the first loop's ring.
final class DataFiles: DataDirectory, @unchecked Sendable {
    /// Slots of the first ring's file table, the tier file's among them.
    static let slots = 8

    private struct Slot {
        var descriptor: Int32 = -1
        var name = ""
        /// Counted up with each file: the ring's entry may be of another one.
        var version = 0
    }

    private let table = Mutex([Slot](repeating: Slot(), count: DataFiles.slots))
    private let tier: Int32
    /// Versions the first ring has. Its loop's alone.
    private var registered = [Int](repeating: 0, count: DataFiles.slots)

    init(tier: Int32) { self.tier = tier }

    // MARK: Names

    func create(_ name: String, isDirect: Bool) throws(FileFailure) -> DiskFile {
        let flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC
        var descriptor = open(name, flags | (isDirect ? csystem_o_direct : 0), 0o644)
        // Some file systems have no way past their cache; durable writes are durable there, too.
        if descriptor < 0, isDirect, errno == EINVAL { descriptor = open(name, flags, 0o644) }
        if descriptor < 0 { throw DataFiles.failure(name) }
        let number = table.withLock { slots -> Int? in
            guard let free = slots.indices.dropFirst().first(where: { slots[$0].descriptor < 0 })
            else { return nil }
            slots[free] = Slot(descriptor: descriptor, name: name, version: slots[free].version + 1)
            return free
        }
        guard let number else {
            Glibc.close(descriptor)
            throw FileFailure("\(name): too many files are open")
        }
        return DiskFile(number: UInt8(number))
    }

    func close(_ file: DiskFile, as name: String) throws(FileFailure) {
        let slot = take(file)
        Glibc.close(slot.descriptor)
        guard Glibc.rename(slot.name, name) == 0 else {
            let failure = DataFiles.failure(name)
            unlink(slot.name)
            throw failure
        }
        try settle(name)
    }

    /// The name is there after a crash too.
    private func settle(_ name: String) throws(FileFailure) {
        let path = name.lastIndex(of: "/").map { String(name[..<$0]) } ?? "."
        let directory = open(path, O_RDONLY | O_CLOEXEC)
        defer { Glibc.close(directory) }
        if fsync(directory) != 0 { throw DataFiles.failure(name) }
    }

    func close(_ file: DiskFile, at byteCount: Int) {
        let slot = take(file)
        // What lies behind is zeros: no harm if they stay.
        _ = ftruncate(slot.descriptor, byteCount)
        Glibc.close(slot.descriptor)
    }

    func byteCount(_ file: DiskFile) -> Int {
        let descriptor = table.withLock { $0[Int(file.number)].descriptor }
        var facts = stat()
        return fstat(descriptor, &facts) == 0 ? Int(facts.st_size) : 0
    }

    func byteCount(_ name: String) -> Int? {
        var facts = stat()
        return stat(name, &facts) == 0 ? Int(facts.st_size) : nil
    }

    func makeDirectory(_ name: String) throws(FileFailure) {
        if mkdir(name, 0o755) != 0 {
            if errno == EEXIST { return }
            throw DataFiles.failure(name)
        }
        try settle(name)
    }

    func exists(_ name: String) -> Bool { access(name, F_OK) == 0 }

    func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            })
        }
        return names
    }

    func contents(_ name: String) -> [UInt8]? { FileBytes.read(name) }

    func replace(_ name: String, with bytes: [UInt8]) throws(FileFailure) {
        guard FileBytes.replace(name, with: bytes) else { throw DataFiles.failure(name) }
        try settle(name)
    }

    func rename(_ name: String, to other: String) throws(FileFailure) {
        if Glibc.rename(name, other) != 0 { throw DataFiles.failure(name) }
        try settle(other)
        try settle(name)
    }

    func delete(_ name: String) {
        // Its blocks are given back when it is closed: not by this thread.
        let descriptor = open(name, O_RDONLY | O_CLOEXEC)
        unlink(name)
        guard descriptor >= 0 else { return }
        var thread = pthread_t()
        let status = pthread_create(&thread, nil, { pointer in
            Glibc.close(Int32(Int(bitPattern: pointer)))
            return nil
        }, UnsafeMutableRawPointer(bitPattern: Int(descriptor)))
        if status == 0 { pthread_detach(thread) } else { Glibc.close(descriptor) }
    }

    func discard(_ file: DiskFile) {
        let slot = take(file)
        guard slot.descriptor >= 0 else { return }
        Glibc.close(slot.descriptor)
        unlink(slot.name)
    }

    private func take(_ file: DiskFile) -> Slot {
        table.withLock { slots in
            defer { slots[Int(file.number)].descriptor = -1 }
            return slots[Int(file.number)]
        }
    }

    private static func failure(_ name: String) -> FileFailure {
        FileFailure("\(name): \(SystemError.text(of: errno))")
    }

    // MARK: Requests

    /// Makes the ring know a file, on the first loop.
    func register(_ file: DiskFile, _ ring: inout Ring) {
        let number = Int(file.number)
        let slot = table.withLock { $0[number] }
        guard registered[number] != slot.version else { return }
        do throws(RingError) {
            try ring.setFile(FileSlot(UInt32(number)), to: slot.descriptor)
        } catch { return }
        registered[number] = slot.version
    }

    /// Makes the ring forget files that are closed: it would keep the blocks of deleted ones. On the first
    /// loop, now and then.
    func forgetClosed(_ ring: inout Ring) {
        for number in 1..<DataFiles.slots where registered[number] != 0 {
            guard table.withLock({ $0[number].descriptor < 0 }) else { continue }
            do throws(RingError) { try ring.setFile(FileSlot(UInt32(number)), to: nil) } catch { return }
            registered[number] = 0
        }
    }

    /// Writes at once, on any thread; bytes written, or minus errno.
    func write(_ file: DiskFile, _ memory: UnsafeMutableRawPointer, _ count: Int, at offset: Int) -> Int {
        let descriptor = table.withLock { $0[Int(file.number)].descriptor }
        return transfer(.write, descriptor, memory, count, at: offset)
    }

    func carryOut(_ worker: StoreWorker) {
        while let request = worker.takeRequest() {
            worker.complete(request.token, result: carryOut(request))
        }
    }

    /// Does at once what is asked, on any thread; what `StoreWorker.complete` is to be told.
    func carryOut(_ request: DiskRequest) -> Int {
        let descriptor =
            request.file == .tier ? tier : table.withLock { $0[Int(request.file.number)].descriptor }
        switch request.kind {
        case .allocate:
            return fallocate(descriptor, 0, request.offset, request.length) == 0 ? 0 : -Int(errno)
        case .sync: return fdatasync(descriptor) == 0 ? 0 : -Int(errno)
        case .read, .write, .durableWrite:
            let kind = request.kind == .read ? DiskRequest.Kind.read : .write
            let done = transfer(kind, descriptor, request.memory!, request.length, at: request.offset)
            if request.kind == .durableWrite, fdatasync(descriptor) != 0 { return -Int(errno) }
            return done
        }
    }

    private func transfer(
        _ kind: DiskRequest.Kind, _ descriptor: Int32, _ memory: UnsafeMutableRawPointer, _ count: Int,
        at offset: Int
    ) -> Int {
        var done = 0
        while done < count {
            let at = memory + done, left = count - done
            let n = kind == .read
                ? pread(descriptor, at, left, offset + done) : pwrite(descriptor, at, left, offset + done)
            if n < 0, errno == EINTR { continue }
            if n < 0 { return -Int(errno) }
            if n == 0 { break }
            done += n
        }
        return done
    }
}
