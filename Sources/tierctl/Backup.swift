import ArgumentParser
import Glibc
import Primitives
import RESPWire

/// A consistent copy of a running server.
struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Has a running server write everything it has to an RDB file, and checks it.",
        discussion: """
            The server writes the file below `backups` in its `dir` while it serves clients. With a \
            directory it is copied there and deleted here. tierctl has to run on the server's machine: the \
            file is read to its end before success is told. redis-server 7.0 can load it, too.
            Exit status: 0 when the backup is complete, 2 when it is there without keys whose values the \
            server could not read, 1 when there is none.
            """)

    @OptionGroup var server: ServerOptions
    @Argument(help: "Where to put it; without, it stays in the server's directory.") var directory: String?

    func run() throws {
        var missing = 0
        do {
            var before = timespec(), after = timespec()
            clock_gettime(CLOCK_MONOTONIC, &before)
            let path = try take(&missing)
            let found = try RDBCheck(path)
            clock_gettime(CLOCK_MONOTONIC, &after)
            let seconds = Double(after.tv_sec - before.tv_sec) + Double(after.tv_nsec - before.tv_nsec) / 1e9
            emit("\(path): \(Format.count(Double(found.keys))) keys, \(found.byteCount) bytes, "
                + "\(Format.fixed(seconds, 1)) seconds, verified\n")
        } catch {
            emitError("tierctl: \(error)\n")
            throw ExitCode(1)
        }
        guard missing > 0 else { return }
        emitError("tierctl: WARNING: \(missing) keys are not in it, since their values cannot be read: "
            + "the server's log names them\n")
        throw ExitCode(2)
    }

    /// Path of the file. `missing`: keys that are not in it.
    private func take(_ missing: inout Int) throws -> String {
        let connection = try ServerConnection(server)
        let reply = try connection.ask(["TIER", "BACKUP"])
        guard case .bulk(let bytes) = reply else {
            throw FileCopy.Failure(description: reply.text ?? "the server's reply is no name")
        }
        let path = String(decoding: bytes, as: UTF8.self)
        let facts = try connection.information()
        if facts["backup_last_name"] == path {
            missing = facts["backup_last_unreadable_keys"].flatMap { Int($0) } ?? 0
        }
        guard DataNames.exists(path) else {
            throw FileCopy.Failure(description: "the backup is on the server's machine: \(path)")
        }
        guard let directory else { return path }
        if mkdir(directory, 0o755) != 0, errno != EEXIST {
            throw FileCopy.Failure(description: "\(directory): \(String(cString: strerror(errno)))")
        }
        let target = "\(directory)/\(path[path.index(after: path.lastIndex(of: "/")!)...])"
        // The server's directory, by any name.
        if DataNames.exists(target) { return target }
        try FileCopy.copy(path, to: target + ".unfinished")
        try FileCopy.rename(target + ".unfinished", to: target)
        _ = try RDBCheck(target)
        unlink(path)
        return target
    }
}
