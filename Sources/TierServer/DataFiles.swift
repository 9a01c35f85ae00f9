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

    func create(_ name: String) throws(FileFailure) -> DiskFile { try create(name, flags: 0) }

    /// The same, written past the page cache where the file system can: in whole pages only.
    func createDirect(_ name: String) throws(FileFailure) -> DiskFile {
        do throws(FileFailure) { return try create(name, flags: csystem_o_direct) } catch {
            return try create(name, flags: 0)
        }
    }

    private func create(_ name: String, flags: Int32) throws(FileFailure) -> DiskFile {
        let descriptor = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0o644)
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
        guard rename(slot.name, name) == 0 else {
            let failure = DataFiles.failure(name)
            unlink(slot.name)
            throw failure
        }
        let directory = open(".", O_RDONLY | O_CLOEXEC)
        defer { Glibc.close(directory) }
        if fsync(directory) != 0 { throw DataFiles.failure(name) }
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

    private func carryOut(_ request: DiskRequest) -> Int {
        let descriptor =
            request.file == .tier ? tier : table.withLock { $0[Int(request.file.number)].descriptor }
        switch request.kind {
        case .allocate:
            return fallocate(descriptor, 0, request.offset, request.length) == 0 ? 0 : -Int(errno)
        case .sync: return fdatasync(descriptor) == 0 ? 0 : -Int(errno)
        case .read, .write:
            return transfer(request.kind, descriptor, request.memory!, request.length, at: request.offset)
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
