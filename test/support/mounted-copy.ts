/** Variables of root in a Debian of a test's own. */
export const ROOTS_ENV = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
};

/**
 * Lines of a shell script that mount a copy of a folder: what is changed in it is kept in memory.
 *
 * @param dir over which the memory is mounted
 * @param root where the copy is to be, inside of `dir`
 */
export function mountCopy(original: string, dir: string, root: string): string {
  return `mount -t tmpfs tmpfs ${dir}
      mkdir ${dir}/changes ${dir}/work ${root}
      mount -t overlay overlay -o lowerdir=${original},upperdir=${dir}/changes,workdir=${dir}/work ${root}`;
}
