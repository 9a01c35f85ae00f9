import ArgumentParser
import Glibc
import TieredStore

/// Puts a backup where the next start of a server loads it.
struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts a backup into a data directory, for the next start of the server there.",
        discussion: """
            The server must not run. What is in the directory stays: the command refuses to go on when \
            there is data, and renames it to *.before-restore with --replace.
            Exit status: 0 when the backup is in place, 1 when nothing was changed.
            """)

    @Argument(help: "A backup, or a directory whose newest is taken.") var source: String
    @Option(name: .customLong("dir"), help: "The server's `dir`.") var directory: String
    @OptionGroup var names: DataNames
    @Flag(help: "Rename what is there to *.before-restore.") var replace = false

    func run() throws {
        do { try restore() } catch {
            emitError("tierctl: \(error)\n")
            throw ExitCode(1)
        }
    }

    private func restore() throws {
        let backup = try self.backup()
        guard DataNames.isDirectory(directory) else {
            throw FileCopy.Failure(description: "\(directory): no such directory")
        }
        // The lock is held until everything is in place.
        let lock = try self.lock()
        defer { if lock >= 0 { close(lock) } }
        let there = [names.tierPath, DataNames.checkpoint, names.dbfilename, names.appenddirname,
            names.appendfilename].map { DataNames.path(directory, $0) }.filter(DataNames.exists)
        guard replace || there.isEmpty else {
            throw FileCopy.Failure(description: """
                \(directory) has data (\(there.joined(separator: ", "))): --replace renames it to \
                *.before-restore
                """)
        }
        let target = DataNames.path(directory, names.dbfilename), unfinished = target + ".unfinished"
        try FileCopy.copy(backup, to: unfinished)
        let found: RDBCheck
        do throws(RDBCheck.Failure) { found = try RDBCheck(unfinished) } catch {
            unlink(unfinished)
            throw FileCopy.Failure(description: "\(backup): \(error)")
        }
        for path in there {
            let other = Restore.free(path + ".before-restore")
            try FileCopy.rename(path, to: other)
            emit("\(path) is now \(other)\n")
        }
        try FileCopy.rename(unfinished, to: target)
        emit("""
            \(backup): \(found.text), verified; it is now \(target)
            Next: start tierd --dir \(directory) with its configuration as before; it loads the file.

            """)
    }

    private static func free(_ path: String) -> String {
        var name = path, number = 1
        while DataNames.exists(name) {
            number += 1
            name = "\(path)-\(number)"
        }
        return name
    }

    /// The tier file locked as a server locks it; -1 if there is none. Errors: a server has it; it is no file
    /// that could be renamed.
    private func lock() throws(FileCopy.Failure) -> Int32 {
        let path = DataNames.path(directory, names.tierPath)
        guard DataNames.exists(path) else { return -1 }
        var facts = stat()
        guard stat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else {
            throw FileCopy.Failure(description: """
                \(path) is not a plain file: start tierd with --load \(source) instead
                """)
        }
        let file = open(path, O_RDWR | O_CLOEXEC)
        guard file >= 0 else {
            throw FileCopy.Failure(description: "\(path): \(String(cString: strerror(errno)))")
        }
        guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
            close(file)
            throw FileCopy.Failure(description: "\(path) is in use by a running server: end it first")
        }
        return file
    }

    /// The file that is meant: the newest of a directory, by the time in its name.
    private func backup() throws(FileCopy.Failure) -> String {
        guard DataNames.isDirectory(source) else { return source }
        var newest: (time: Substring, name: String)?
        if let stream = opendir(source) {
            defer { closedir(stream) }
            while let entry = readdir(stream) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                let prefixes = ["tierd-", "automatic-"]
                guard name.hasSuffix(".rdb"), let prefix = prefixes.first(where: name.hasPrefix)
                else { continue }
                let time = name.dropFirst(prefix.count).dropLast(4)
                if time > newest?.time ?? "" { newest = (time, name) }
            }
        }
        guard let newest else { throw FileCopy.Failure(description: "\(source): no backup is there") }
        return "\(source)/\(newest.name)"
    }
}
