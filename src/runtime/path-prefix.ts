/** A path such as `/tailgate` or `/a/b/`, or nothing. It ends up in headers and in the paths of cookies. */
export const PATH_PREFIX = /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)*\/?$/;
